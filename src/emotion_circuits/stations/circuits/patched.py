"""Texts written while heads hold what they held in an emotional prompt, beside the controls that can explain it away.

The judge of these texts is their own: one of the attribute's that does not decide which steering is chosen. Its figure is the
emotion's probability, or whether the text holds a word of the emotion's lexicon.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from emotion_circuits.evaluation import Evaluator, judge_of
from emotion_circuits.heads import Node, PairTask
from emotion_circuits.heads.changes import source_patch
from emotion_circuits.model import LanguageModel, Sampling, generate
from emotion_circuits.progress import progress_bar
from emotion_circuits.prompts import evenly
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.record.studied import Studied
from emotion_circuits.stations.circuits.settings import CircuitsSettings
from emotion_circuits.stations.steering.plan import other_openings
from emotion_circuits.statistics import About, Draft, draft, paired_difference, rank_p

__all__ = ["own_judge", "patched_drafts", "patched_texts"]


def patched_texts(
    model: LanguageModel, config: StudySettings, about: Studied, test: PairTask, heads: Mapping[str, Sequence[Node]]
) -> pd.DataFrame:
    """Continue neutral test openings plainly and with patched heads; every arm has the same seeds and decoding.

    Arms per emotion: ``circuit`` (its heads hold their values at the last token of an emotional prompt), ``neutral source``
    (its heads, values from neutral prompts), and many times ``random`` (as many other heads of the same layers, values from
    the same emotional prompts).

    Args:
        model: the model.
        config: of the study.
        about: what is studied.
        test: pairs whose prompts are the sources.
        heads: per emotion.

    Returns:
        One row per arm and opening: ``arm emotion draw prompt text``, ``own_LABEL`` by :func:`own_judge`, and the figures of
        the attribute's other judges.
    """
    c = config.of(CircuitsSettings)
    openings = [p.text for p in evenly(other_openings(config), c.generation_prompts)]
    sampling = Sampling(max_new_tokens=c.max_new_tokens, temperature=c.temperature)
    sources = _sources(test)
    rng = np.random.default_rng(config.seed)
    arms: list[tuple[str, str, int, list[Node], tuple[str, ...]]] = [("plain", "", 0, [], ())]
    for emotion in about.values:
        own = list(heads[emotion])
        arms += [
            ("circuit", emotion, 0, own, (emotion,)),
            ("neutral source", emotion, 0, own, about.compared_with(emotion)),
        ]
        arms += [("random", emotion, i, _others(model, own, rng), (emotion,)) for i in range(c.random_heads)]
    found = []
    with progress_bar("patched texts", len(arms)) as bar:
        for arm, emotion, index, nodes, source in arms:
            held = [prompt for label in source for prompt in sources[label]]
            chosen = [held[i % len(held)] for i in range(len(openings))] if held else []
            change = source_patch(model, chosen, nodes) if nodes else []
            written = generate(model, openings, sampling, interventions=change, seeds=config.seed)
            found += [
                {"arm": arm, "emotion": emotion, "draw": index, "prompt": p, "text": g.text}
                for p, g in zip(openings, written, strict=True)
            ]
            bar.advance()
    table = pd.DataFrame(found)
    texts = [t.strip() for t in table["text"]]
    judge = own_judge(about)
    scores = judge.score(texts)
    for emotion in about.values:
        known = f"p_{emotion}" in scores
        table[f"own_{emotion}"] = scores[f"p_{emotion}"] if known else (scores[f"n_{emotion}"] > 0).astype(float)
    for other in (judge_of(about.attribute, name, cache=False) for name in about.attribute.figure_judges()):
        more = other.score(texts)
        table = pd.concat([table, more.drop(columns=[x for x in ("label",) if x in more])], axis=1)
    return table


def own_judge(about: Studied) -> Evaluator:
    """The first judge that knows every value and does not decide which steering is chosen; where there is none, that one."""
    a = about.attribute
    for name in a.judges[1:]:
        judge = judge_of(a, name, cache=False)
        columns = judge.score(["."]).columns
        if all(f"p_{v}" in columns or f"n_{v}" in columns for v in about.values):
            return judge
    return judge_of(a, about.judge, cache=False)


def patched_drafts(table: pd.DataFrame, emotions: Sequence[str], *, seed: int = 0) -> list[Draft]:
    """One draft per emotion: its heads raise the emotion more than the same heads from neutral prompts, and than others.

    p is the larger of two: a one-sided sign-flip test over openings of the heads against themselves with a neutral source,
    and the rank of the heads' mean among those of random heads of the same layers.

    Args:
        table: of :func:`patched_texts`.
        emotions: which.
        seed: of bootstrap and permutation.
    """
    plain = table[table["arm"] == "plain"].set_index("prompt")
    drafts = []
    for emotion in emotions:
        column = f"own_{emotion}"
        part = table[table["emotion"] == emotion]
        of = {arm: part[part["arm"] == arm].set_index("prompt")[column] for arm in ("circuit", "neutral source")}
        main = paired_difference(
            of["circuit"].loc[plain.index], of["neutral source"].loc[plain.index],
            alternative="greater", resamples=5000, seed=seed,
        )  # fmt: skip
        random = part[part["arm"] == "random"].groupby("draw")[column].mean().to_numpy()
        low, high = np.quantile(random - main.control, [0.025, 0.975])
        drafts.append(
            draft(
                f"circuits.patched.{emotion}",
                "circuits.patched",
                About(value=emotion),
                family="circuits.patched",
                estimate=main.estimate,
                interval=(main.low, main.high),
                n=main.n,
                chance=0.0,
                null=(float(low), float(high)),
                p=max(main.p, rank_p(main.treated, random)),
                smallest=0.05,
                beside={
                    "plain": float(plain[column].mean()),
                    "circuit": main.treated,
                    "neutral source": main.control,
                    "random": float(random.mean()),
                    "random_best": float(random.max()),
                    "random_p": rank_p(main.treated, random),
                    "draws": len(random),
                },
            )
        )
    return drafts


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
