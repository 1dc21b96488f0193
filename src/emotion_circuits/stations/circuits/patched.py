"""Texts written while heads hold what they held in an emotional prompt, beside the controls that can explain it away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from emotion_circuits.evaluation import EmotionClassifier, VaderSentiment
from emotion_circuits.heads import Node, PairTask
from emotion_circuits.heads.changes import source_patch
from emotion_circuits.model import LanguageModel, Sampling, generate
from emotion_circuits.progress import progress_bar
from emotion_circuits.prompts import evenly, load_prompts
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.stations.circuits.settings import CircuitsSettings

__all__ = ["patched_texts"]


def patched_texts(
    model: LanguageModel, config: StudySettings, test: PairTask, heads: Mapping[str, Sequence[Node]]
) -> pd.DataFrame:
    """Continue neutral test openings plainly and with patched heads; every arm has the same seeds and decoding.

    Arms per emotion: ``circuit`` (its heads hold their values at the last token of an emotional prompt), ``random`` (as
    many other heads of the same layers, the same prompts) and ``neutral source`` (its heads, values from neutral prompts).

    Args:
        model: the model.
        config: of the study.
        test: pairs whose prompts are the sources.
        heads: per emotion.

    Returns:
        One row per arm and opening: ``arm emotion prompt text`` and the evaluators' columns.
    """
    c = config.of(CircuitsSettings)
    openings = [p.text for p in evenly(load_prompts(config.continuations, split="test"), c.generation_prompts)]
    sampling = Sampling(max_new_tokens=c.max_new_tokens, temperature=c.temperature)
    sources = _sources(test)
    rng = np.random.default_rng(config.seed)
    arms: list[tuple[str, str, list[Node], str]] = [("plain", "", [], "")]
    for emotion in config.emotions:
        own = list(heads[emotion])
        arms += [
            ("circuit", emotion, own, emotion),
            ("random", emotion, _others(model, own, rng), emotion),
            ("neutral source", emotion, own, "neutral"),
        ]
    found = []
    with progress_bar("patched texts", len(arms)) as bar:
        for arm, emotion, nodes, source in arms:
            chosen = [sources[source][i % len(sources[source])] for i in range(len(openings))] if source else []
            change = source_patch(model, chosen, nodes) if nodes else []
            written = generate(model, openings, sampling, interventions=change, seeds=config.seed)
            found += [
                {"arm": arm, "emotion": emotion, "prompt": p, "text": g.text}
                for p, g in zip(openings, written, strict=True)
            ]
            bar.advance()
    table = pd.DataFrame(found)
    texts = [t.strip() for t in table["text"]]
    for judge_ in (EmotionClassifier(), VaderSentiment()):
        scores = judge_.score(texts)
        table = pd.concat([table, scores.drop(columns=[x for x in ("label",) if x in scores])], axis=1)
    return table


def _sources(test: PairTask) -> dict[str, list[str]]:
    """Prompts by emotion, each once."""
    found: dict[str, dict[str, None]] = {}
    for pair in test.pairs:
        found.setdefault(pair.label, {})[pair.text] = None
        found.setdefault(pair.corrupted_label, {})[pair.corrupted] = None
    return {label: list(texts) for label, texts in found.items()}


def _others(model: LanguageModel, heads: Sequence[Node], rng: np.random.Generator) -> list[Node]:
    """As many heads of the same layers that are not among them (fewer where a layer has no more)."""
    out = []
    for layer in sorted({n.layer for n in heads}):
        free = [h for h in range(model.n_heads) if Node("head", layer, h) not in set(heads)]
        count = min(len(free), sum(n.layer == layer for n in heads))
        out += [Node("head", layer, free[int(i)]) for i in rng.choice(len(free), count, replace=False)]
    return out
