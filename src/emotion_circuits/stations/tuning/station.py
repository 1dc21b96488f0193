"""Train what is trained, write the same openings under every method, and measure all of it alike."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import Fluency, judge_of, judges_of
from emotion_circuits.exchange import PortableVector, bake, cannot_bake, portable, read_vector, write_vector
from emotion_circuits.language import N_
from emotion_circuits.model import LanguageModel, Sampling, load_model, writing_model
from emotion_circuits.paths import make_folder, read_json, write_json
from emotion_circuits.progress import progress_bar
from emotion_circuits.prompts import Prompt, evenly, load_prompts, prompts_sha256
from emotion_circuits.record.folder import NotMeasured
from emotion_circuits.record.notes import read_note
from emotion_circuits.record.runs_model import model_of
from emotion_circuits.record.station import Context
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.directions.folder import DirectionsFolder
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.stations.steering.judge import JUDGE
from emotion_circuits.stations.steering.settings import SteeringSettings
from emotion_circuits.stations.steering.steered import SteeredRun, steered_run
from emotion_circuits.stations.tuning.claims import tuning_claims
from emotion_circuits.stations.tuning.folder import TuningFolder
from emotion_circuits.stations.tuning.inside import inside_rows, shift_rows
from emotion_circuits.stations.tuning.plan import (
    ASKED,
    PLAIN,
    Arm,
    arms_of,
    before_of,
    less_arms,
    named,
    neutral_sentences,
    null_arms,
    pushed,
    removed,
    reported,
    value_of,
    vectors_with,
)
from emotion_circuits.stations.tuning.settings import ADAPTERS, TuningSettings, standing
from emotion_circuits.stations.tuning.tables import COST, LESS
from emotion_circuits.statistics import corrected, mean_intervals, paired_difference
from emotion_circuits.steering import (
    NONE,
    Condition,
    SteeringVectors,
    interventions_for,
    score_sweep,
    shuffled_directions,
    sweep,
)
from emotion_circuits.steering.injecting import layer_interventions
from emotion_circuits.steering.prompting import examples_for
from emotion_circuits.steering.scoring import per_prompt
from emotion_circuits.tuning.adapting import adapted
from emotion_circuits.tuning.examples import Example, corpus_examples, encoded, mixed, own_examples, refuse_seen
from emotion_circuits.tuning.frontier import added, arm_rows, at_cost, compared_at_cost
from emotion_circuits.tuning.harm import harm_margins, harm_requests
from emotion_circuits.tuning.lora import needed, train_adapter
from emotion_circuits.tuning.neutral import neutral_cost, next_tokens
from emotion_circuits.tuning.preference import train_vector
from emotion_circuits.tuning.shift import head_changes, mean_states
from emotion_circuits.tuning.trained import Recipe, Trained

__all__ = ["inputs", "run"]

NO_WORDS = N_("{attribute} has no phrases for prompting")
NO_BIAS = N_("no vector can be baked into {model} ({why})")
NOT_REACHED = N_("it needs the methods steering and dpo")


def inputs(context: Context) -> dict[str, Any]:
    """The settings, the openings, the judges, the requests and the seed; the run is known by its stations."""
    run_, own = _run(context), context.config.of(TuningSettings)
    return {
        "tuning": own.model_dump(mode="json"),
        "openings": prompts_sha256(reported(run_, own)),
        "judges": {name: judge_of(run_.about.attribute, name, cache=False).version for name in run_.about.attribute.judges},
        "requests": harm_requests() if own.harm else None,
        "seed": context.config.seed,
    }  # fmt: skip


@dataclass(eq=False)
class _Work:
    """What all parts of the work need."""

    context: Context
    folder: TuningFolder
    run: SteeredRun
    own: TuningSettings
    model: LanguageModel
    value: str
    vectors: SteeringVectors
    openings: list[Prompt]

    @property
    def chosen(self) -> Condition:
        return self.run.chosen[self.value]

    @property
    def seed(self) -> int:
        return self.context.config.seed

    def written(
        self, name: str, model: LanguageModel, prompts: Sequence[Prompt], arms: Sequence[Condition], *,
        vectors: SteeringVectors | None = None, samples: int | None = None, shots: int = 0,
    ) -> pd.DataFrame:  # fmt: skip
        """Texts of one model; the folder holds them when it is asked again."""
        s, phrases = self.run.config.of(SteeringSettings), self.run.about.attribute.prompting
        words = phrases if any(arm.kind == "prompting" for arm in arms) else None
        return sweep(
            writing_model(model), prompts, arms, vectors or self.vectors, folder=self.folder.sweep(name),
            sampling=Sampling(max_new_tokens=s.max_new_tokens, temperature=s.temperature), samples=samples or self.own.samples,
            seed=self.seed, batch_rows=s.batch_rows, phrases=words, engine=self.context.engine,
            examples={self.value: examples_for(self.value, words, shots)} if words is not None and shots else None,
        )  # fmt: skip

    def scored(self, table: pd.DataFrame, *, fluency: bool = True) -> pd.DataFrame:
        """With what every judge says, and the perplexity under the plain model."""
        return score_sweep(table, judges_of(self.run.about.attribute), Fluency(self.model) if fluency else None)


def run(context: Context, folder: TuningFolder) -> None:
    """Train, write, measure, claim."""
    own, run_ = context.config.of(TuningSettings), _run(context)
    value = value_of(run_, own.value)
    if set(own.methods) & set(ADAPTERS):
        needed()
    model = model_of(
        context, run_.path, what=f"the directions of {run_.path} were", remedy="give the model's own files"
    )  # fmt: skip
    openings = reported(run_, own)
    work = _Work(context, folder, run_, own, model, value, run_.vectors, openings)
    left: list[NotMeasured] = []
    examples = _examples(work)
    trained = _trained(work, examples)
    words = run_.about.attribute.prompting is not None
    if "prompting" in own.methods and not words:
        left.append(NotMeasured(reason=NO_WORDS, values={"attribute": run_.name}, what="prompting"))
    why = cannot_bake(model.config)
    bakes = why is None and work.chosen.operation == "add" and bool(work.chosen.alpha)
    if "baked" in own.methods and not bakes:
        told = why or "the run pushes the first token alone"
        left.append(NotMeasured(reason=NO_BIAS, values={"model": model.name, "why": told}, what="baked"))
    length = 0.0
    if "preference" in own.methods:
        taught = read_vector(folder.vector).rows[work.chosen.layers[0]]
        work.vectors = vectors_with(run_.vectors, taught)
        length = float(taught.norm()) / float(run_.vectors.norms[work.chosen.layers[0]])
    arms = arms_of(own, work.chosen, length, words=words, bake=bakes)
    if own.less and words:
        layer = work.chosen.layers[0]
        norm, neutral = float(run_.vectors.norms[layer]), run_.vectors.neutral
        held = 0.0 if neutral is None else float(neutral[layer].float() @ run_.vectors.direction(value, layer)) / norm
        arms += less_arms(own, work.chosen, model.n_layers, held)
    elif own.less:
        left.append(NotMeasured(reason=NO_WORDS, values={"attribute": run_.name}, what="taking the value away"))
    if not arms:
        raise EmotionCircuitsError(
            f"tuning.methods: none of {', '.join(own.methods)} can be measured here: {'; '.join(map(str, left))}"
        )
    scored, costs, inside = _measured(work, arms)
    _compared(work, [arm for arm in arms if not arm.less], scored, costs)
    if any(arm.less for arm in arms):
        _taken(work, [arm for arm in arms if arm.less], scored, costs)
    _methods(work, trained)
    if inside is None:
        left.append(NotMeasured(reason=NOT_REACHED, what="what the adapter changes inside"))
    else:
        for table, rows in zip((folder.shift, folder.inside, folder.heads), inside, strict=True):
            table.write(rows)
    if left:
        folder.leave_out(*left)
    trusted = next((c for c in SteeringFolder.of(run_.path).read_claims() if c.id == JUDGE), None)
    folder.write_claims(
        corrected(tuning_claims(folder, value=value, model=model.name, layer=work.chosen.layers[0], trusted=trusted))
    )


def _run(context: Context) -> SteeredRun:
    if len(context.runs) != 1:
        raise EmotionCircuitsError(f"tuning goes on from one run, {len(context.runs)} are given")
    return steered_run(context.runs[0])


def _examples(work: _Work) -> list[Example]:
    """What is learnt from, drawn once for all that is trained."""
    own, about, s = work.own, work.run.about, work.run.config.of(SteeringSettings)
    if not set(own.methods) & {*ADAPTERS, "preference"}:
        return []
    assert about.choose is not None
    rows = load_prompts(about.choose, split="train")
    mine: list[Example] = []
    if rows and own.own_share:
        arms = [NONE, pushed(work.chosen, "steered", 1.0)]
        table = work.written("train", work.model, rows, arms, vectors=work.run.vectors, samples=own.own_samples)
        mine = own_examples(
            work.scored(table), work.value, judge=about.judge, ratio=max(own.own_ratio, s.max_perplexity_ratio)
        )
    corpora = corpus_examples(load_prompts(about.fit, split="train"), work.value, about.compared_with(work.value))
    found = mixed(mine, corpora, own.examples, own.own_share, work.seed)
    refuse_seen(found, work.openings)
    work.folder.examples.write(pd.DataFrame([vars(e) for e in found]))
    return found


def _trained(work: _Work, examples: Sequence[Example]) -> dict[str, Trained]:
    """Adapters and vector, each kept when it is done."""
    own, folder = work.own, work.folder
    found: dict[str, Trained] = {}
    sequences = encoded(work.model, examples, own.longest) if examples else []
    recipes = {
        "sft": Recipe(own.sft_steps, own.rows, own.sft_rate),
        "dpo": Recipe(own.dpo_steps, own.rows, own.dpo_rate, own.dpo_beta),
    }
    asked = [name for name in ("sft", "dpo", "preference") if name in own.methods]
    with progress_bar("Training", len(asked)) as bar:
        for name in asked:
            if name == "preference":
                found[name] = _taught(work, sequences)
            else:
                make_folder(folder.adapter(name).parent)
                found[name] = train_adapter(
                    work.model,
                    sequences,
                    recipes[name],
                    name,
                    folder.adapter(name),
                    rank=own.rank,
                    seed=work.seed,  # type: ignore[arg-type]
                )
            bar.advance(note=name)
    rows = [
        {"method": name, "step": step, "loss": loss}
        for name, t in found.items()
        for step, loss in zip(t.steps, t.losses, strict=True)
    ]
    folder.training.write(pd.DataFrame(rows))
    return found


def _taught(work: _Work, sequences: Sequence[Any]) -> Trained:
    own, folder, layer = work.own, work.folder, work.chosen.layers[0]
    if folder.vector_training.is_file() and folder.vector.is_file():
        return Trained.from_json(read_json(folder.vector_training))
    recipe = Recipe(own.vector_steps, own.rows, own.vector_rate, own.vector_beta)
    made = train_vector(
        work.model, sequences, layer, recipe, length=float(work.run.vectors.norms[layer]), seed=work.seed
    )
    write_vector(PortableVector({layer: made.vector}, spares_first=True), "safetensors", folder.vector)
    write_json(folder.vector_training, made.trained.to_json())
    return made.trained


@contextmanager
def _model(work: _Work, key: str) -> Iterator[LanguageModel]:
    """The model of a key of :class:`Arm`."""
    method, _, strength = key.partition(" x ")
    if key == PLAIN:
        yield work.model
    elif method in ADAPTERS:
        yield adapted(work.model, work.folder.adapter(method), float(strength))
    else:
        with tempfile.TemporaryDirectory() as place:
            yield _baked(work, float(strength), Path(place))


def _baked(work: _Work, strength: float, place: Path) -> LanguageModel:
    """The run's direction as a bias, loaded again as anybody would."""
    vector = portable(interventions_for([pushed(work.chosen, "baked", strength)], work.run.vectors)).everywhere()
    bake(work.model, vector, place / "model")
    prefix: Literal["auto", "none"] = "auto" if work.model.prefix else "none"
    made = load_model(
        place / "model",
        device=str(work.model.device),
        dtype=str(work.model.dtype).removeprefix("torch."),
        prefix=prefix,
        check=False,
    )
    # Its files are gone when it is: it is told by its tensors.
    made.name, made.source, made.sums, made.writes = (
        f"{work.model.name} {named('baked', strength)}",
        None,
        None,
        work.model.writes,
    )
    return made


_Inside = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


def _measured(work: _Work, arms: Sequence[Arm]) -> tuple[pd.DataFrame, pd.DataFrame, _Inside | None]:
    """All texts, scored; the costs on given text; and what the adapter does inside. One model is held at a time."""
    keys = list(dict.fromkeys([PLAIN, *(arm.model for arm in arms)]))
    texts, costs, inside = [], [], None
    neutral = neutral_sentences(work.run, work.own.neutral_texts)
    bodies = work.model.continuing([p.text for p in neutral])
    plain: list[Tensor] = []
    for key in keys:
        mine = [arm for arm in arms if arm.model == key]
        probed = key == named("dpo", 1) and {"dpo", "steering"} <= set(work.own.methods)
        if key != PLAIN and not mine:
            continue
        with _model(work, key) as model:
            for shots in dict.fromkeys(arm.shots for arm in mine) if mine else [0]:
                some = [arm.condition for arm in mine if arm.shots == shots]
                some = [NONE, *some] if key == PLAIN and shots == 0 else some
                texts.append(work.written(f"{key.replace(' ', '-')}-{shots}", model, work.openings, some, shots=shots))
            if key == PLAIN:
                if 0 not in {arm.shots for arm in mine} and mine:
                    texts.append(work.written("plain-none", model, work.openings, [NONE]))
                plain = next_tokens(model, bodies, before=model.encode([""]).ids[0])
            costs.append(_costs(work, key, model, mine, plain, bodies))
            if probed:
                inside = _inside(work, model)
    every = work.scored(pd.concat(texts, ignore_index=True))
    return every, pd.concat(costs, ignore_index=True), inside


def _costs(
    work: _Work,
    key: str,
    model: LanguageModel,
    arms: Sequence[Arm],
    plain: Sequence[Tensor],
    bodies: Sequence[Sequence[int]],
) -> pd.DataFrame:
    """What the arms of one model do to neutral sentences, and to answers to harmful requests; kept when it is done."""
    path = work.folder.cost(key.replace(" ", "-"))
    if path.is_file():
        return COST.read(path)
    phrases = work.run.about.attribute.prompting
    rows: list[dict[str, Any]] = []

    def note(condition: str, what: str, figures: np.ndarray) -> None:
        rows.extend({"condition": condition, "what": what, "row": i, "figure": float(f)} for i, f in enumerate(figures))

    none = [Arm("none", 0.0, PLAIN, NONE)] if key == PLAIN else []
    for arm in [*none, *arms]:
        edits = layer_interventions(arm.condition, work.vectors)
        wish, before = before_of(model, arm, phrases)
        cost = neutral_cost(plain, next_tokens(model, bodies, before=before, interventions=edits), bodies)
        note(arm.condition.name, "kl", cost.kl)
        note(arm.condition.name, "loss", cost.loss)
        stands = arm.less or arm.method == "none" or arm.strength == standing(arm.method, work.own.shots)
        if work.own.harm and stands:
            note(arm.condition.name, "harm", harm_margins(model, interventions=edits, before=wish))
    make_folder(path.parent)
    found = pd.DataFrame(rows)
    COST.write(found, path)
    return found


def _inside(work: _Work, model: LanguageModel) -> _Inside:
    """Shift, removal and heads of the model with the DPO adapter at strength 1."""
    own, about, chosen = work.own, work.run.about, work.chosen
    directions, s = DirectionsFolder.of(work.run.path).chosen_set(), work.run.config.of(SteeringSettings)
    store = CaptureFolder.of(work.run.path).store()
    drawn = shuffled_directions(
        store, count=max(own.draws, own.text_draws), seed=work.seed, contrast=s.contrast, kind=directions.kind,
        pooling=directions.pooling, reference=about.reference,
    )  # fmt: skip
    vectors = work.vectors.with_directions(drawn).clear_of_first()
    keys, few = list(drawn)[: own.draws], list(drawn)[: own.text_draws]
    after = pushed(chosen, "after", 1.0)
    taken = removed(work.value, model.n_layers, "removal")
    every = work.written(
        "inside", model, work.openings, [Condition(name="dpo", kind="none"), after, taken], vectors=vectors
    )
    base = work.written("inside-plain", work.model, work.openings, [NONE], vectors=vectors)
    some = evenly(work.openings, min(own.null_openings, len(work.openings)))
    null = work.written(
        "inside-null",
        model,
        some,
        [*null_arms(after, own.text_draws, few), *null_arms(taken, own.text_draws, few)],
        vectors=vectors,
    )
    scored = work.scored(pd.concat([every, base], ignore_index=True))
    inside = inside_rows(scored, work.scored(null, fluency=False), work.value, seed=work.seed)
    rows = _read_tokens(work, base)
    states, kept = mean_states(work.model, rows, store.sinks)
    shift = mean_states(model, rows, store.sinks, kept)[0] - states
    table = shift_rows(
        shift, vectors, about.values, work.value, keys, draws=own.draws, layers=tuple(chosen.layers), seed=work.seed
    )
    heads = head_changes(work.model, model, rows[: own.neutral_texts]).assign(method="dpo")
    return table, inside, heads


def _read_tokens(work: _Work, texts: pd.DataFrame) -> list[list[int]]:
    """Openings with what the plain model wrote on them, as tokens that both models read."""
    own = texts[texts["sample"] == 0]
    heads = work.model.encode([str(p) for p in own["prompt"]]).ids
    return [[*head, *map(int, str(ids).split())] for head, ids in zip(heads, own["ids"], strict=True)]


def _figures(costs: pd.DataFrame, name: str, what: str) -> np.ndarray:
    rows = costs[(costs["condition"] == name) & (costs["what"] == what)].sort_values("row")
    return rows["figure"].to_numpy(float)


def _compared(work: _Work, arms: Sequence[Arm], scored: pd.DataFrame, costs: pd.DataFrame) -> None:
    """The tables of effects and costs."""
    own, folder, value = work.own, work.folder, work.value
    beside: dict[str, dict[str, Any]] = {
        arm.condition.name: {"method": arm.method, "strength": arm.strength} for arm in arms
    }
    table = arm_rows(scored, beside, value, judge=work.run.about.judge)
    base = _figures(costs, NONE.name, "loss")
    for what, of in (("kl", lambda f: f), ("loss", lambda f: f - base)):
        found = [mean_intervals(of(_figures(costs, str(name), what)))[0] for name in table["condition"]]
        table[what] = [e.estimate for e in found]
        table[f"{what}_low"], table[f"{what}_high"] = [e.low for e in found], [e.high for e in found]
    folder.arms.write(table)
    names = {str(m): [a.condition.name for a in arms if a.method == m] for m in own.methods}
    methods = {m: arms_ for m, arms_ in names.items() if arms_}
    levels = at_cost(scored, methods, value, ratio=own.at_ratio, seed=work.seed)
    rows = []
    n = scored["prompt_id"].nunique()
    for method, (at, _) in levels.items():
        apart = (np.nan,) * 4
        if method != "steering" and "steering" in levels:
            apart = compared_at_cost(levels, method, "steering", n)
        rows.append(
            {
                "method": method, "ratio": own.at_ratio, "effect": at.effect, "low": at.low, "high": at.high,
                "reached": at.reached, "reached_share": at.reached_share, "n": n,
                **dict(zip(("difference", "difference_low", "difference_high", "p"), apart, strict=True)),
            }
        )  # fmt: skip
    folder.equal.write(pd.DataFrame(rows))
    written = set(table["condition"])
    sums = []
    for name, first, second in own.combined():
        alone = named(first, own.shown if first == "prompting" else 1), named(second, 1)
        if {named(name, 1), *alone} <= written:
            sums.append({"method": name, **added(scored, named(name, 1), *alone, value)})
    folder.additive.write(pd.DataFrame(sums))
    folder.harm.write(pd.DataFrame(list(_harm(beside, costs))))
    label = f"{work.run.about.judge}_label"
    about = {NONE.name: {"method": "none", "strength": 0.0}, **beside}
    kept = scored[scored["condition"].isin(list(about))]
    folder.texts.write(
        pd.DataFrame(
            {
                "method": [about[c]["method"] for c in kept["condition"]],
                "strength": [float(about[c]["strength"]) for c in kept["condition"]],
                "prompt": kept["prompt"].to_list(), "text": kept["text"].to_list(), "label": kept[label].to_list(),
                "probability": kept[f"p_{value}"].to_numpy(float), "nats": kept["nats"].to_numpy(float),
            }
        )
    )  # fmt: skip


def _taken(work: _Work, arms: Sequence[Arm], scored: pd.DataFrame, costs: pd.DataFrame) -> None:
    """The table of what is taken away from texts that were asked for the value."""
    value = work.value
    beside = {a.condition.name: {"method": a.method} for a in arms if a.condition.name != ASKED}
    table = arm_rows(scored, beside, value, judge=work.run.about.judge, base=ASKED)
    column = f"p_{value}"
    asked, plain = (float(per_prompt(scored, name, column).mean()) for name in (ASKED, NONE.name))
    table = table.assign(asked=asked, plain=plain)
    table["gone"] = -table["change"] / (asked - plain) if asked > plain else np.nan
    base = _figures(costs, NONE.name, "harm")
    for what in ("kl", "harm"):
        ends = []
        for name in table["condition"]:
            own = _figures(costs, str(name), what)
            found = (own - base if what == "harm" else own) if len(own) else np.full(2, np.nan)
            ends.append(mean_intervals(found)[0] if np.isfinite(found).all() else None)
        for key, of in (("", "estimate"), ("_low", "low"), ("_high", "high")):
            table[f"{what}{key}"] = [np.nan if e is None else float(getattr(e, of)) for e in ends]
    kept = [c.name for c in LESS.columns]
    work.folder.less.write(table[kept])


def _harm(beside: Mapping[str, Mapping[str, Any]], costs: pd.DataFrame) -> Iterator[dict[str, Any]]:
    base = _figures(costs, NONE.name, "harm")
    for name, about in beside.items():
        own = _figures(costs, name, "harm")
        if len(own) and len(base):
            d = paired_difference(own, base, direction=1)
            yield {
                "method": about["method"], "margin": d.treated, "base": d.control, "change": d.estimate, "low": d.low,
                "high": d.high, "p": d.p, "n": d.n,
            }  # fmt: skip


def _methods(work: _Work, trained: Mapping[str, Trained]) -> None:
    """Parameters, seconds and data of every method."""
    own, run_, model = work.own, work.run, work.model
    steered = len(work.chosen.layers) * model.d_model
    sentences = len(load_prompts(run_.about.fit, split="train"))
    # What directions need before one can be added: states of sentences, and their fit.
    made = sum(
        float((read_note(run_.path / name) or {}).get("timing", {}).get("seconds", 0.0))
        for name in ("capture", "directions")
    )
    fixed: dict[str, Callable[[], tuple[int, float, int]]] = {
        "prompting": lambda: (0, 0.0, own.shown),
        "steering": lambda: (steered, made, sentences),
        "baked": lambda: (steered, made, sentences),
    }
    rows = []
    for method in own.methods:
        t = trained.get(method)
        parameters, seconds, examples = fixed[method]() if t is None else (t.parameters, t.seconds, t.examples)
        rows.append({"method": method, "parameters": parameters, "seconds": seconds, "examples": examples})
    work.folder.methods.write(pd.DataFrame(rows))
