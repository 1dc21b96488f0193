"""What is learnt from, and everything that is trained on it: adapters and a vector, each kept when it is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from emotion_circuits.exchange import PortableVector, write_vector
from emotion_circuits.paths import make_folder, read_json, write_json
from emotion_circuits.progress import progress_bar
from emotion_circuits.prompts import load_prompts
from emotion_circuits.stations.steering.settings import SteeringSettings
from emotion_circuits.stations.tuning.plan import (
    pushed,
)
from emotion_circuits.stations.tuning.settings import ADAPTERS
from emotion_circuits.stations.tuning.work import Work
from emotion_circuits.steering import (
    NONE,
)
from emotion_circuits.tuning.examples import Example, corpus_examples, encoded, mixed, own_examples, refuse_seen
from emotion_circuits.tuning.lora import train_adapter
from emotion_circuits.tuning.preference import train_vector
from emotion_circuits.tuning.trained import Recipe, Trained

__all__ = ["examples_for_all", "train_all"]


def examples_for_all(work: Work) -> list[Example]:
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


def train_all(work: Work, examples: Sequence[Example]) -> dict[str, Trained]:
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


def _taught(work: Work, sequences: Sequence[Any]) -> Trained:
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
