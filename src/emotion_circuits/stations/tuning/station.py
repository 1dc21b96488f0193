"""Train what is trained, write the same openings under every method, and measure all of it alike."""

from __future__ import annotations

from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import judge_of
from emotion_circuits.exchange import cannot_bake, read_vector
from emotion_circuits.language import N_
from emotion_circuits.prompts import prompts_sha256
from emotion_circuits.record.folder import NotMeasured
from emotion_circuits.record.runs_model import model_of
from emotion_circuits.record.station import Context
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.stations.steering.judge import JUDGE
from emotion_circuits.stations.steering.steered import SteeredRun, steered_run
from emotion_circuits.stations.tuning.claims import tuning_claims
from emotion_circuits.stations.tuning.comparing import write_comparison, write_methods, write_taken
from emotion_circuits.stations.tuning.folder import TuningFolder
from emotion_circuits.stations.tuning.learning import examples_for_all, train_all
from emotion_circuits.stations.tuning.measuring import harm_of_nothing, measured, taken_by_nothing
from emotion_circuits.stations.tuning.plan import (
    arms_of,
    less_arms,
    reported,
    value_of,
    vectors_with,
)
from emotion_circuits.stations.tuning.settings import ADAPTERS, TuningSettings
from emotion_circuits.stations.tuning.work import Work
from emotion_circuits.statistics import corrected
from emotion_circuits.tuning.harm import harm_requests
from emotion_circuits.tuning.lora import needed

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
        **({"taken": "beside directions of nothing"} if own.less else {}),
        "seed": context.config.seed,
    }  # fmt: skip


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
    work = Work(context, folder, run_, own, model, value, run_.vectors, openings)
    left: list[NotMeasured] = []
    examples = examples_for_all(work)
    trained = train_all(work, examples)
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
    scored, costs, inside = measured(work, arms)
    null_costs = harm_of_nothing(work, arms)
    write_comparison(work, [arm for arm in arms if not arm.less], scored, costs, null_costs)
    if any(arm.less for arm in arms):
        taking = [arm for arm in arms if arm.less]
        write_taken(work, taking, scored, costs, taken_by_nothing(work, taking), null_costs)
    write_methods(work, trained)
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
