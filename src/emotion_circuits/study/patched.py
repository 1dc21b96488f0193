"""Texts written while heads hold what they held in an emotional prompt, beside the controls that can explain it away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from emotion_circuits.evaluation import AttributeClassifier, Evaluator, judge_of
from emotion_circuits.heads import Node, PairTask
from emotion_circuits.heads.texts import source_patch
from emotion_circuits.model import LanguageModel, Sampling, generate
from emotion_circuits.paths import replacing
from emotion_circuits.progress import progress_bar
from emotion_circuits.prompts import load_prompts
from emotion_circuits.statistics import Claim, fdr, judge, paired_difference
from emotion_circuits.study.config import StudyConfig
from emotion_circuits.study.studied import Studied, studied

__all__ = ["patched_claims", "patched_texts"]


def patched_texts(
    model: LanguageModel, config: StudyConfig, test: PairTask, heads: Mapping[str, Sequence[Node]], folder: Path
) -> pd.DataFrame:
    """Continue neutral test openings plainly and with patched heads; every arm has the same seeds and decoding.

    Arms per emotion: ``circuit`` (its heads hold their values at the last token of an emotional prompt), ``random`` (as
    many other heads of the same layers, the same prompts) and ``neutral source`` (its heads, values from neutral prompts).

    Args:
        model: the model.
        config: of the study.
        test: pairs whose prompts are the sources.
        heads: per emotion.
        folder: gets ``patched.parquet``.

    Returns:
        One row per arm and opening: ``arm emotion prompt text`` and the evaluators' columns.
    """
    c, about = config.circuits, studied(config)
    rows = load_prompts(about.choose, split="test")
    openings = [rows[i * len(rows) // c.generation_prompts].text for i in range(min(c.generation_prompts, len(rows)))]
    sampling = Sampling(max_new_tokens=c.max_new_tokens, temperature=config.steering.temperature)
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
    with replacing(folder / "patched.parquet") as temporary:
        table.to_parquet(temporary, index=False)
    return table


def patched_claims(table: pd.DataFrame, config: StudyConfig) -> list[Claim]:
    """One claim per emotion: its heads raise the emotion's probability more than the same heads from neutral prompts."""
    plain = table[table["arm"] == "plain"].set_index("prompt")
    found = {}
    for emotion in studied(config).values:
        part = table[table["emotion"] == emotion]
        arms = {arm: rows.set_index("prompt")[f"p_{emotion}"].loc[plain.index] for arm, rows in part.groupby("arm")}
        arms["plain"] = plain[f"p_{emotion}"]
        main = paired_difference(arms["circuit"], arms["neutral source"], resamples=5000, seed=config.seed)
        found[emotion] = (main, {arm: float(values.mean()) for arm, values in arms.items()})
    family = f"patched texts: {len(found)} emotions"
    q = fdr({e: main.p for e, (main, _) in found.items()}, family=family).q
    return [
        judge(
            id=f"circuits.patched.{emotion}",
            station="circuits",
            statement=f"Heads of {emotion}, held at what they were in prompts of {emotion}, make neutral openings go on with "
            f"more {emotion} than the same heads from neutral prompts.",
            estimate=main.estimate,
            interval=(main.low, main.high),
            unit="classifier probability, difference",
            n=main.n,
            chance=0.0,
            p=main.p,
            q=q[emotion],
            notes=f"Family: {family}. Mean probability: "
            + ", ".join(f"{arm!s} {m:.3f}" for arm, m in means.items())
            + ".",
        )
        for emotion, (main, means) in found.items()
    ]


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
