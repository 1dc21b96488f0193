"""Texts written while heads hold what they held in an emotional prompt, beside the controls that can explain it away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from emotion_circuits.evaluation import AttributeClassifier, Evaluator, judge_of
from emotion_circuits.heads import Node, PairTask
from emotion_circuits.heads.changes import source_patch
from emotion_circuits.model import LanguageModel, Sampling, generate
from emotion_circuits.progress import progress_bar
from emotion_circuits.prompts import evenly, load_prompts
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.record.studied import Studied
from emotion_circuits.stations.circuits.settings import CircuitsSettings

__all__ = ["patched_texts"]


def patched_texts(
    model: LanguageModel, config: StudySettings, about: Studied, test: PairTask, heads: Mapping[str, Sequence[Node]]
) -> pd.DataFrame:
    """Continue neutral test openings plainly and with patched heads; every arm has the same seeds and decoding.

    Arms per emotion: ``circuit`` (its heads hold their values at the last token of an emotional prompt), ``random`` (as
    many other heads of the same layers, the same prompts) and ``neutral source`` (its heads, values from neutral prompts).

    Args:
        model: the model.
        config: of the study.
        about: what is studied.
        test: pairs whose prompts are the sources.
        heads: per emotion.

    Returns:
        One row per arm and opening: ``arm emotion prompt text`` and the evaluators' columns.
    """
    c = config.of(CircuitsSettings)
    openings = [p.text for p in evenly(load_prompts(about.choose, split="test"), c.generation_prompts)]
    sampling = Sampling(max_new_tokens=c.max_new_tokens, temperature=c.temperature)
    sources = _sources(test)
    rng = np.random.default_rng(config.seed)
    arms: list[tuple[str, str, list[Node], str]] = [("plain", "", [], "")]
    for emotion in about.values:
        own = list(heads[emotion])
        arms += [
            ("circuit", emotion, own, emotion),
            ("random", emotion, _others(model, own, rng), emotion),
            ("neutral source", emotion, own, about.reference),
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
    for judge_ in _judges(about):
        scores = judge_.score(texts)
        table = pd.concat([table, scores.drop(columns=[x for x in ("label",) if x in scores])], axis=1)
    return table


def _judges(about: Studied) -> list[Evaluator]:
    """The judge that decides, where it is the attribute's own as a forced choice, and those that give one figure."""
    a = about.attribute
    first = AttributeClassifier(a, forced=True) if about.judge == a.axis else judge_of(a, about.judge, cache=False)
    return [first, *(judge_of(a, name, cache=False) for name in a.figure_judges())]


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
