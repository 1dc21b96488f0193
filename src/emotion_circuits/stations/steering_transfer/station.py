"""Write on every run's test openings with every other run's directions: runs of one model, each of another language or attribute.

A text is read by the judge of the run whose openings it continues, so in its own language; what that judge finds rests on its
own claim to be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from emotion_circuits.evaluation import Fluency, judge_of, judges_of
from emotion_circuits.language import N_
from emotion_circuits.model import LanguageModel, Sampling
from emotion_circuits.prompts import prompts_sha256
from emotion_circuits.record.folder import NotMeasured
from emotion_circuits.record.runs_model import model_of, noted_model
from emotion_circuits.record.station import Context
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.directions.folder import DirectionsFolder
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.stations.steering.judge import JUDGE
from emotion_circuits.stations.steering.plan import null_openings, openings
from emotion_circuits.stations.steering.settings import SteeringSettings
from emotion_circuits.stations.steering.steered import SteeredRun, steered_run
from emotion_circuits.stations.steering_transfer.folder import SteeringTransferFolder
from emotion_circuits.stations.steering_transfer.settings import SteeringTransferSettings
from emotion_circuits.statistics import About, Draft, corrected, draft
from emotion_circuits.steering import NONE, Condition, score_sweep, shuffled_directions, sweep
from emotion_circuits.steering.carrying import carried_arms, carried_effects, carried_name

__all__ = ["inputs", "run"]

NOT_STEERED = N_("steering was left out of the study of {names}")
NO_PLACE = N_("steering found no place and strength within the fluency bound for {names}")
NO_OTHER = N_("no other steered study shares a value with {names}")

SMALLEST = 0.1
"""Of a change of the judge's probability: what is moved by less is not called steered, however surely it is."""


def _shared(source: SteeredRun, target: SteeredRun) -> list[str]:
    """The values of both that the target has a place for."""
    return [value for value in source.about.values if value in target.chosen and target is not source]


def inputs(context: Context) -> dict[str, Any]:
    """The settings, the openings, the judges and the seed; directions and places are known by the runs' stations."""
    runs = [steered_run(path) for path in context.runs]
    return {
        "steering_transfer": context.config.of(SteeringTransferSettings).model_dump(mode="json"),
        "openings": {r.name: prompts_sha256(openings(r.config, "test")) for r in runs if r.chosen},
        "judges": {
            r.name: judge_of(r.about.attribute, r.about.judge, cache=False).version for r in runs if r.chosen
        },
        "seed": context.config.seed,
    }  # fmt: skip


def run(context: Context, folder: SteeringTransferFolder) -> None:
    """Target by target: all texts on its openings, then what every source did to them."""
    runs, draws = [steered_run(path) for path in context.runs], context.config.of(SteeringTransferSettings).draws
    noted_model(
        context.runs, [r.name for r in runs], what="steering transfer",
        why=": a direction has no meaning in another; use align to compare models",
    )  # fmt: skip
    able = [r for r in runs if r.steered]
    left = [NotMeasured(reason=NOT_STEERED, values={"names": r.name}, what=r.name) for r in runs if r not in able]
    sources = {target.name: [r for r in able if _shared(r, target)] for target in able}
    for target in able:
        reason = NO_PLACE if not target.chosen else NO_OTHER if not sources[target.name] else None
        if reason is not None:
            left.append(NotMeasured(reason=reason, values={"names": target.name}, what=target.name))
    targets = [target for target in able if sources[target.name]]
    if not targets:
        # Nothing is measured at all: what lacks is told of the whole.
        folder.leave_out(*(row.model_copy(update={"what": ""}) for row in left))
        folder.write_claims(corrected([]))
        return
    model = model_of(
        context, targets[0].path, what=f"the directions of {targets[0].path} were",
        remedy="give the model's own files",
    )  # fmt: skip
    pushes, texts, drafts = [], [], []
    for target in targets:
        own = sources[target.name]
        strange = [r for r in able if not set(r.about.values) & set(target.about.values)]
        scored = _texts(context, folder, model, target, own, strange, draws)
        table = pd.concat(
            [
                carried_effects(
                    scored, source.name, {v: target.chosen[v] for v in _shared(source, target)},
                    sides=target.about.attribute.metrics, judge=target.about.judge, others=[r.name for r in strange],
                    seed=context.config.seed,
                ).assign(source=source.name)
                for source in own
            ],
            ignore_index=True,
        )  # fmt: skip
        places = {value: " ".join(map(str, condition.layers)) for value, condition in target.chosen.items()}
        pushes.append(table.assign(model=model.name, target=target.name, layers=table["value"].map(places)))
        kept = scored[scored["kind"] != "shuffled"]
        texts.append(
            kept[["condition", "prompt_id", "prompt", "text"]].assign(
                target=target.name, label=kept[f"{target.about.judge}_label"]
            )
        )
        trusted = next((c for c in SteeringFolder.of(target.path).read_claims() if c.id == JUDGE), None)
        drafts += [d for row in pushes[-1].to_dict("records") for d in _drafts(row, trusted)]
    folder.pushes.write(pd.concat(pushes, ignore_index=True))
    folder.texts.write(pd.concat(texts, ignore_index=True))
    if left:
        folder.leave_out(*left)
    folder.write_claims(corrected(drafts))


def _texts(
    context: Context,
    folder: SteeringTransferFolder,
    model: LanguageModel,
    target: SteeredRun,
    sources: Sequence[SteeredRun],
    strange: Sequence[SteeredRun],
    draws: int,
) -> pd.DataFrame:
    """Every text on one target's openings, judged."""
    s, seed = target.config.of(SteeringSettings), context.config.seed
    arms: list[Condition] = [NONE, *target.chosen.values()]
    null: list[Condition] = []
    made: dict[str, torch.Tensor] = {}
    for source in sources:
        shared = _shared(source, target)
        made |= _directions(source, shared)
        places = [target.chosen[value] for value in shared]
        arms += carried_arms(places, source.name, shared, kind="emotion")
        drawn = _shuffled(source, draws, seed)
        made |= {carried_name(source.name, name): rows for name, rows in drawn.items()}
        null += carried_arms(places, source.name, list(drawn), kind="shuffled")
    reached = [target.chosen[v] for v in target.chosen if any(v in _shared(r, target) for r in sources)]
    for other in strange:
        values = [value for value in other.about.values if value in other.vectors.unit]
        made |= _directions(other, values)
        arms += carried_arms(reached, other.name, values, kind="other")
    vectors = target.vectors.with_directions(made).clear_of_first()
    common: dict[str, Any] = {
        "sampling": Sampling(max_new_tokens=s.max_new_tokens, temperature=s.temperature),
        "seed": seed, "batch_rows": s.batch_rows, "engine": context.engine, "samples": s.samples,
    }  # fmt: skip
    judges = judges_of(target.about.attribute)
    written, by_chance = (
        sweep(model, rows, conditions, vectors, folder=folder.sweep(target.name, name), **common)
        for name, rows, conditions in (
            ("test", openings(target.config, "test"), arms), ("null", null_openings(target.config), null),
        )
    )  # fmt: skip
    # What a direction of nothing costs in fluency is not asked: only its effect is.
    scored = [score_sweep(written, judges, Fluency(model)), score_sweep(by_chance, judges)]
    return pd.concat(scored, ignore_index=True)


def _directions(source: SteeredRun, values: Sequence[str]) -> dict[str, torch.Tensor]:
    return {carried_name(source.name, value): source.vectors.unit[value] for value in values}


def _shuffled(source: SteeredRun, draws: int, seed: int) -> dict[str, torch.Tensor]:
    """Directions of the source's sentences under shuffled labels, made as its own were."""
    directions, s = DirectionsFolder.of(source.path).chosen_set(), source.config.of(SteeringSettings)
    return shuffled_directions(
        CaptureFolder.of(source.path).store(), count=draws, seed=seed, contrast=s.contrast, kind=directions.kind,
        pooling=directions.pooling, reference=source.about.reference,
    )  # fmt: skip


def _drafts(row: Mapping[Any, Any], trusted: Any) -> list[Draft]:
    names, n = f"{row['source']}.{row['target']}.{row['value']}", int(row["n"])
    about = About(
        value=str(row["value"]), corpus=str(row["target"]), arm=str(row["source"]), model=str(row["model"]),
        condition=f"L{str(row['layers']).replace(' ', '+')}",
    )  # fmt: skip
    beside = {key: float(row[key]) for key in ("own", "share", "astray", "wrong", "ratio") if np.isfinite(row[key])}
    effect = draft(
        f"steering_transfer.effect.{names}", "steering_transfer.effect", about, family="steering_transfer.effect",
        estimate=float(row["change"]), interval=(float(row["low"]), float(row["high"])), chance=0.0,
        null=(float(row["null_low"]), float(row["null_high"])), p=float(row["p"]), n=n, side="greater", smallest=SMALLEST,
        given=trusted, beside=beside,
    )  # fmt: skip
    if not np.isfinite(row["specific"]):
        return [effect]
    apart = (float(row["specific_low"]), float(row["specific_high"]))
    specific = draft(
        f"steering_transfer.specific.{names}", "steering_transfer.specific", about, family="steering_transfer.specific",
        estimate=float(row["specific"]), interval=apart, chance=0.0, p=float(row["p_specific"]), n=n, side="greater",
        smallest=SMALLEST, given=effect.id, beside={"wrong": float(row["wrong"])},
    )  # fmt: skip
    return [effect, specific]
