"""What a study will cost, before it runs: tokens, seconds and bytes per stage.

**Tokens** are counted in the corpora with the model's own tokenizer, each time a token goes through the whole model (a scan
that resumes half way up counts half); generated ones are an upper bound, since a text may end early.

**Time** is a model of the work (tokens, decoding steps, probes, tables) times how fast this machine does each just now
(:mod:`~emotion_circuits.study.calibrating`), times how much longer than that the stage took when it last ran on this machine
(:mod:`~emotion_circuits.study.speeds`), where it has.

**Disk** is what the stage leaves behind; sizes of tensors are exact, those of tables are approximate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from emotion_circuits.activations import FRAME
from emotion_circuits.activations.pooling import token_batches
from emotion_circuits.circuits.finding import circuit_sizes
from emotion_circuits.model import Blueprint
from emotion_circuits.prompts import load_pairs, load_prompts
from emotion_circuits.steering import NONE, Condition, shared_controls
from emotion_circuits.study.calibrating import BATCH_TOKENS, Speed
from emotion_circuits.study.config import StudyConfig
from emotion_circuits.study.stations import study_prompts
from emotion_circuits.study.steering import openings, steering_arms
from emotion_circuits.study.studied import studied

__all__ = ["Estimate", "estimate_study"]

_BACKWARD = 2.0
"""A backward pass, in forward passes."""
_TABLE_KB = 25
"""A Parquet table of a few hundred rows."""


@dataclass(frozen=True)
class Estimate:
    """Of one stage, as if it began anew.

    Attributes:
        stage: its name.
        tokens: that go through the model, read and written; a part of the model counts as a part of a token.
        seconds: on this machine.
        bytes: that its folder will hold.
    """

    stage: str
    tokens: int
    seconds: float
    bytes: int


def estimate_study(config: StudyConfig, model: Blueprint, speed: Speed) -> list[Estimate]:
    """One estimate per stage, in their order; seconds are not corrected by earlier runs.

    Args:
        config: what is asked.
        model: the model's shapes and tokenizer.
        speed: of this machine.
    """
    found = [f(config, model, speed) for f in (_capture, _directions, _trace, _steering, _circuits)]
    return [replace(e, tokens=round(e.tokens), bytes=round(e.bytes)) for e in found]


def _ids(model: Blueprint, texts: Sequence[str]) -> list[list[int]]:
    return model.tokenizer(list(texts), add_special_tokens=True)["input_ids"] if texts else []


def _capture(config: StudyConfig, model: Blueprint, speed: Speed) -> Estimate:
    c = config.capture
    ids = _ids(model, [p.text for p in study_prompts(config)])
    suffix = len(model.tokenizer(FRAME, add_special_tokens=False)["input_ids"]) if "frame" in c.poolings else 0
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    batches = token_batches(order, ids, c.batch_tokens)
    padded = sum(len(b) * (max(len(ids[i]) for i in b) + suffix) for b in batches)
    state = model.n_layers * model.d_model * model.dtype.itemsize
    rows = len(ids) * len(c.kinds) * (len(c.poolings) * state + 4 * model.n_layers)
    return Estimate("capture", padded, speed.forward(padded, len(batches)), rows + 80 * len(ids))


def _directions(config: StudyConfig, model: Blueprint, speed: Speed) -> Estimate:
    d, layers = config.directions, model.n_layers
    sets = len(d.pairs()) * len(d.kinds)
    probes = [(e, p) for e, p in d.pairs() if e in ("pca", "denoised", "lda", "logistic")]
    beside = [(e, p) for e, p in d.pairs() if p == d.steering.partition(".")[2] or e == "token"]
    at = layers if d.geometry == "all" else 1
    solves = len(d.kinds) * len(probes) * (layers + d.null_draws + 10)
    solves += len(d.kinds) * sum(1 for pair in beside if pair in probes) * at * 30
    solves += len(d.reading) * len(d.poolings) * layers
    light = len(d.kinds) * (len(d.pairs()) - len(probes)) * (layers + d.null_draws + 10) + len(beside) * at * 20
    tables = sets * layers + sets * d.null_draws + 40 * sets
    seconds = solves * speed.solve * 1.2 + (light * 2e-3 + tables * 8e-3) * speed.host
    emotions = len(studied(config).values)
    vectors = (emotions * model.d_model * 4 + 8 * (emotions + 1)) * layers + 1800
    return Estimate("directions", 0, seconds, sets * vectors + 7 * _TABLE_KB * 1000)


def _trace(config: StudyConfig, model: Blueprint, speed: Speed) -> Estimate:
    t, about = config.trace, studied(config)
    emotions = len(about.values)
    rows = load_prompts(about.trace, labels=about.labels)
    mean = sum(map(len, _ids(model, [p.text for p in rows]))) / max(1, len(rows))
    # Per emotion and split: writers and attention read both sentences of a group, readers rerun one with every direction.
    directions = t.null_draws + 1
    tokens = emotions * 2 * t.groups * mean * (2 + 2 + 2 + 1 + 0.5 * (directions + 1))
    parts = model.n_layers * (model.n_heads + 1)
    tables = emotions * 2 * 3 * parts * 3e-3 * speed.host
    size = emotions * 2 * parts * 150 + 85_000
    return Estimate("trace", round(tokens), speed.forward(tokens, tokens / BATCH_TOKENS * 2) + tables, size)


def _steering(config: StudyConfig, model: Blueprint, speed: Speed) -> Estimate:
    s, emotions = config.steering, studied(config).values
    grid = steering_arms(config, model.n_layers)
    # Which conditions win is not known yet: one place for all emotions, or two among them, or one each.
    places = [arm for arm in grid if arm.emotion == emotions[0] and arm.units == "norm"]
    chosen: list[Condition] = []
    for k, emotion in enumerate(emotions):
        at = {"always": 0, "equal": min(k, 1), "never": k}[s.share_places]
        like = places[at % len(places)]
        chosen.append(replace(like, emotion=emotion, name=f"{emotion} chosen"))
    shuffled = [f"shuffled {i}" for i in range(s.shuffled_directions)]
    arms = [NONE, *shared_controls(chosen, random=s.random_directions, shuffled=shuffled)]
    compared = 1 + len(config.directions.pairs()) * len(emotions) if s.compare_prompts else 0
    choosing = s.validation_samples or s.samples
    parts = {
        "validation": (len(grid), len(openings(config, "validation")) * choosing, 1.0),
        "test": (len(arms), len(openings(config, "test")) * s.samples, _read_again(arms)),
        "comparison": (compared, s.compare_prompts * choosing, 1.0),
    }
    texts = [p.text for p in (*openings(config, "validation"), *openings(config, "test"))]
    opening = sum(map(len, _ids(model, texts))) / len(texts)
    tokens = seconds = size = 0.0
    for count, texts_each, judged in parts.values():
        rows = count * texts_each
        seconds += speed.decode(rows, s.batch_rows, s.max_new_tokens) + speed.forward(
            rows * opening, rows / s.batch_rows
        )
        read = rows * judged * s.max_new_tokens
        seconds += speed.forward(read, read / BATCH_TOKENS) + read * (speed.unembed + speed.choose)
        # Judging a text, and its share of the bootstrap tables.
        seconds += rows * 4e-3 * speed.host
        tokens += rows * (opening + s.max_new_tokens) + read
        size += rows * 190
    vectors = (len(emotions) + 2) * model.n_layers * model.d_model * 4
    return Estimate("steering", round(tokens), seconds, round(size + vectors + 260_000))


def _read_again(arms: Sequence[Condition]) -> float:
    """Share of the arms whose fluency is read: random and shuffled directions are not asked."""
    return sum(arm.kind not in ("random", "shuffled") for arm in arms) / len(arms)


def _circuits(config: StudyConfig, model: Blueprint, speed: Speed) -> Estimate:
    c, about = config.circuits, studied(config)
    if about.pairs is None:
        return Estimate("circuits", 0, 0.0, 0)
    emotions = len(about.values)
    pairs = [p for p in load_pairs(about.pairs) if {p.label, p.corrupted_label} <= set(about.labels)]
    mean = max(1.0, sum(map(len, _ids(model, [p.text for p in pairs]))) / max(1, len(pairs)))
    count = {
        split: min(limit, sum(p.split == split for p in pairs))
        for split, limit in (("train", c.train_pairs), ("validation", c.validation_pairs), ("test", c.test_pairs))
    }
    nodes = model.n_layers * (model.n_heads + 1)
    # Scores and circuits use every pair one way round, the exact scan and the comparison of emotions both ways.
    one_way = {split: n / 2 for split, n in count.items()}
    scored = one_way["train"] * (2 + c.steps * (1 + _BACKWARD)) + 2 * count["train"]
    links = min(c.edge_pairs, one_way["train"]) * min(c.steps, 3) * (1 + _BACKWARD)
    # An edge's gradient goes back through the attention or the MLP of one reader: a small part of a block each.
    links += min(c.edge_pairs, one_way["train"]) * min(c.steps, 3) * nodes * _BACKWARD / model.n_layers / 2
    # Half of the blocks on average; and the answers of the null are read from every row.
    scan = count["test"] * (nodes if c.exact is None else c.exact) * 0.8
    sizes = len(circuit_sizes(nodes, c.sizes)) + 1
    circuits = sizes * (1 + c.n_random) + 2 * c.samples + 1
    if c.thorough:
        circuits += 40 + 60 + 16
    whole = one_way["test"] * circuits + one_way["validation"] * sizes
    whole += count["test"] / emotions * emotions * (emotions + 3) + one_way["test"] * c.roles * 6
    tokens = mean * (scored + links + scan + whole)
    rows = (scan + whole) / max(1, c.batch_rows)
    written = c.generation_prompts * (1 + 3 * emotions)
    seconds = speed.forward(tokens, rows + scored / 8) + (scan + whole) * speed.unembed
    seconds += speed.decode(written, max(1, c.generation_prompts), c.max_new_tokens)
    seconds += (nodes * 2e-2 + circuits * 0.05) * speed.host
    tokens += written * (c.max_new_tokens + mean)
    exact = nodes if c.exact is None else c.exact
    return Estimate("circuits", round(tokens), seconds, round(exact * (count["test"] * 8 + 400 * 8) + 60_000))
