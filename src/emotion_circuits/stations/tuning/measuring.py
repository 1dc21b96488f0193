"""The same openings written under every method, what each costs on given text, and what an adapter changes inside."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from torch import Tensor

from emotion_circuits.exchange import bake, portable
from emotion_circuits.model import LanguageModel, load_model
from emotion_circuits.paths import make_folder
from emotion_circuits.progress import progress_bar
from emotion_circuits.prompts import evenly
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.directions.folder import DirectionsFolder
from emotion_circuits.stations.steering.settings import SteeringSettings
from emotion_circuits.stations.tuning.inside import inside_rows, shift_rows
from emotion_circuits.stations.tuning.plan import (
    PLAIN,
    Arm,
    before_of,
    named,
    neutral_sentences,
    null_arms,
    null_arms_of,
    pushed,
    removed,
)
from emotion_circuits.stations.tuning.settings import ADAPTERS, standing
from emotion_circuits.stations.tuning.tables import COST
from emotion_circuits.stations.tuning.work import Work
from emotion_circuits.steering import (
    NONE,
    Condition,
    interventions_for,
    random_direction,
    shuffled_directions,
)
from emotion_circuits.steering.injecting import layer_interventions
from emotion_circuits.tuning.adapting import adapted
from emotion_circuits.tuning.harm import harm_margins
from emotion_circuits.tuning.neutral import neutral_cost, next_tokens
from emotion_circuits.tuning.shift import head_changes, mean_states

__all__ = ["Inside", "harm_of_nothing", "measured", "taken_by_nothing"]


@contextmanager
def _model(work: Work, key: str) -> Iterator[LanguageModel]:
    """The model of a key of :class:`Arm`."""
    method, _, strength = key.partition(" x ")
    if key == PLAIN:
        yield work.model
    elif method in ADAPTERS:
        yield adapted(work.model, work.folder.adapter(method), float(strength))
    else:
        with tempfile.TemporaryDirectory() as place:
            yield _baked(work, float(strength), Path(place))


def _baked(work: Work, strength: float, place: Path) -> LanguageModel:
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


Inside = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


def measured(work: Work, arms: Sequence[Arm]) -> tuple[pd.DataFrame, pd.DataFrame, Inside | None]:
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
    work: Work,
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
        if work.own.harm and _stands(arm, work.own.shots):
            note(arm.condition.name, "harm", harm_margins(model, interventions=edits, before=wish))
    make_folder(path.parent)
    found = pd.DataFrame(rows)
    COST.write(found, path)
    return found


def _stands(arm: Arm, shots: Sequence[int]) -> bool:
    """Whether answers to harmful requests are scored under an arm: at one strength of each method."""
    if arm.less and arm.model == PLAIN and not arm.condition.layers:
        return False  # words alone, which do not stand before the requests: nothing is done to the model
    return arm.less or arm.method == "none" or arm.strength == standing(arm.method, shots)


def _inside(work: Work, model: LanguageModel) -> Inside:
    """Shift, removal and heads of the model with the DPO adapter at strength 1."""
    own, about, chosen = work.own, work.run.about, work.chosen
    drawn = _shuffled(work, max(own.draws, own.text_draws))
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
    rows, sinks = _read_tokens(work, base), CaptureFolder.of(work.run.path).store().sinks
    states, kept = mean_states(work.model, rows, sinks)
    shift = mean_states(model, rows, sinks, kept)[0] - states
    table = shift_rows(
        shift, vectors, about.values, work.value, keys, draws=own.draws, layers=tuple(chosen.layers), seed=work.seed
    )
    heads = head_changes(work.model, model, rows[: own.neutral_texts]).assign(method="dpo")
    return table, inside, heads


def _shuffled(work: Work, count: int) -> dict[str, Tensor]:
    """Directions of the run's sentences under shuffled labels, ``shuffled 0`` and so on."""
    directions, s = DirectionsFolder.of(work.run.path).chosen_set(), work.run.config.of(SteeringSettings)
    return shuffled_directions(
        CaptureFolder.of(work.run.path).store(), count=count, seed=work.seed, contrast=s.contrast, kind=directions.kind,
        pooling=directions.pooling, reference=work.run.about.reference,
    )  # fmt: skip


def taken_by_nothing(work: Work, arms: Sequence[Arm]) -> pd.DataFrame:
    """What directions of nothing take from texts that were asked for the value, pushed or held in the same ways.

    Args:
        work: of the station.
        arms: that take it away.

    Returns:
        The texts on some of the openings, scored without fluency.
    """
    own = work.own
    shuffled = _shuffled(work, own.text_draws)
    drawn = _random(work, own.text_draws)
    vectors = work.vectors.with_directions({**drawn, **shuffled}).clear_of_first()
    some = evenly(work.openings, min(own.null_openings, len(work.openings)))
    null = null_arms_of(arms, [*drawn, *shuffled])
    written = work.written("less-null", work.model, some, null, vectors=vectors, shots=own.shown)
    return work.scored(written, fluency=False)


def harm_of_nothing(work: Work, arms: Sequence[Arm]) -> pd.DataFrame:
    """Answers to harmful requests under random directions, pushed or held as the arms do that alone.

    Args:
        work: of the station.
        arms: all of them; those of another model, of words, and those whose answers are not scored are passed over.

    Returns:
        Rows of costs, kept when they are done; none where no harm is asked.
    """
    own = work.own
    path = work.folder.cost("harm-null")
    if path.is_file():
        return COST.read(path)
    drawn = _random(work, own.harm_draws)
    vectors = work.vectors.with_directions(drawn).clear_of_first()
    alone = [
        a for a in arms if a.model == PLAIN and _stands(a, own.shots) and (a.less or a.condition.kind != "prompting")
    ]
    null = null_arms_of(alone, list(drawn))
    if not own.harm or not null:
        return COST.empty()
    rows = []
    with progress_bar("Harmful requests under random directions", len(null)) as bar:
        for condition in null:
            margins = harm_margins(work.model, interventions=layer_interventions(condition, vectors))
            rows += [
                {"condition": condition.name, "what": "harm", "row": i, "figure": float(f)}
                for i, f in enumerate(margins)
            ]
            bar.advance()
    make_folder(path.parent)
    COST.write(pd.DataFrame(rows), path)
    return pd.DataFrame(rows)


def _random(work: Work, count: int) -> dict[str, Tensor]:
    """Directions of nothing, in every layer alike, ``random 0`` and so on."""
    layers = len(work.vectors.norms)
    return {f"random {i}": random_direction(work.model.d_model, i)[None].expand(layers, -1) for i in range(count)}


def _read_tokens(work: Work, texts: pd.DataFrame) -> list[list[int]]:
    """Openings with what the plain model wrote on them, as tokens that both models read."""
    own = texts[texts["sample"] == 0]
    heads = work.model.encode([str(p) for p in own["prompt"]]).ids
    return [[*head, *map(int, str(ids).split())] for head, ids in zip(heads, own["ids"], strict=True)]
