"""What a survey of an 8B model costs on 1, 8 and 64 cards, on a simulated cluster.

python benchmarks/bench_cluster.py [--write docs/scale.md] [--json]

Work is that of the program's own dry run (tokens, solves, bytes of every station) for a Llama of 8B shape. A card is described
by what its maker publishes and by how much of it is reached; what a processor does beside it is measured here. Parts are then
given to workers by a discrete-event simulation of the engines' own rules: a worker has one part at a time, a node that goes
loses the parts of its cards, which are begun again, and what was handed over is kept.

``studies``: a worker takes a study from end to end, as ``survey`` gives them out; begun again, it goes on at its parts.
``parts``: it takes a part of any study whose earlier stations are done, as ``run`` gives them out, with all studies run at once.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig

from bench_all import END, START, around
from emotion_circuits.model import Blueprint, blueprint
from emotion_circuits.model.bundled import installed
from emotion_circuits.record.speed import Speed, calibrate
from emotion_circuits.study import load_config
from emotion_circuits.study.planning import estimate_study
from shapes import SHAPES

LANGUAGES = ("emotion-en", "emotion-ja", "emotion-es", "emotion-fr", "emotion-de", "emotion-zh")
ATTRIBUTES = ("emotion-en", "politeness-en", "formality", "humor", "threat", "persona", "social_bias", "truthfulness")
NODE_CARDS = 8
MINUTE, HOUR, DAY, GIB = 60.0, 3600.0, 86400.0, 2.0**30


@dataclass(frozen=True)
class Card:
    """What a card gives, and what it costs.

    Attributes:
        flops: per second in bfloat16, as published without sparsity.
        bandwidth: bytes per second of its memory.
        reached: of both, by long batches and by decoding.
        cores: of a processor like this one, beside every card.
    """

    flops: float = 989e12
    bandwidth: float = 3.35e12
    reached: float = 0.4
    cores: int = 16


@dataclass(frozen=True)
class Cluster:
    """Where parts are computed.

    Attributes:
        cards: workers, one card each, eight to a node.
        hours_to_failure: mean time between failures of a node; infinite: none fails.
        down: seconds until another node is there.
        load: seconds until a worker has the model.
    """

    cards: int
    hours_to_failure: float = math.inf
    down: float = 10 * MINUTE
    load: float = 60.0

    @property
    def nodes(self) -> int:
        """How many nodes that is."""
        return -(-self.cards // NODE_CARDS)


@dataclass(frozen=True)
class Outcome:
    """What a simulated run took.

    Attributes:
        seconds: from the first part to the last.
        busy: share of the cards' time in which parts were computed that were kept.
        lost: seconds of card time thrown away with nodes.
        failures: nodes that went.
        loads: times that a worker loaded the model.
    """

    seconds: float
    busy: float
    lost: float
    failures: int
    loads: int


Study = Sequence[Sequence[Sequence[float]]]
"""Stations, each of them pieces of work that one worker does, each of them the seconds of its parts."""


def simulate(studies: Sequence[Study], cluster: Cluster, *, seed: int = 0) -> Outcome:
    """Run the parts of all studies on a cluster; a study's stations follow one another.

    Args:
        studies: what is to be computed, the longest first is best.
        cluster: where.
        seed: of the failures.

    Returns:
        What it took.
    """
    rng = np.random.default_rng(seed)
    ready: deque[tuple[int, Sequence[float]]] = deque()
    station, left = [-1] * len(studies), [0] * len(studies)
    pieces = [piece for study in studies for station_ in study for piece in station_]
    total = sum(map(sum, pieces))

    def begin_next(study: int) -> None:
        station[study] += 1
        while station[study] < len(studies[study]) and not studies[study][station[study]]:
            station[study] += 1
        if station[study] < len(studies[study]):
            left[study] = len(studies[study][station[study]])
            ready.extend((study, piece) for piece in studies[study][station[study]])

    for study in range(len(studies)):
        begin_next(study)
    # What is there is taken first come, first served; a card that comes back stands behind the others.
    free = [(0.0, card) for card in range(cluster.cards)]
    back: list[tuple[float, int]] = []
    loaded = [False] * cluster.cards
    running: dict[int, tuple[float, float, int, Sequence[float]]] = {}  # card → end, begin, study, parts
    fails = [(float(rng.exponential(cluster.hours_to_failure * HOUR)), node) for node in range(cluster.nodes)]
    heapq.heapify(fails)
    lost, now, failures, loads, done = 0.0, 0.0, 0, 0, 0
    while done < len(pieces):
        while ready and free:
            _, card = heapq.heappop(free)
            study, parts = ready.popleft()
            begin = now + (0.0 if loaded[card] else cluster.load)
            loads, loaded[card] = loads + (not loaded[card]), True
            running[card] = (begin + sum(parts), begin, study, parts)
        end, card = min(((end, card) for card, (end, *_) in running.items()), default=(math.inf, -1))
        now = min(end, fails[0][0], back[0][0] if back else math.inf)
        if now == end:
            _, _, study, _ = running.pop(card)
            heapq.heappush(free, (now, card))
            done, left[study] = done + 1, left[study] - 1
            if not left[study]:
                begin_next(study)
        elif now == fails[0][0]:
            _, node = heapq.heappop(fails)
            failures += 1
            returns = now + cluster.down
            heapq.heappush(fails, (returns + float(rng.exponential(cluster.hours_to_failure * HOUR)), node))
            gone = range(node * NODE_CARDS, min((node + 1) * NODE_CARDS, cluster.cards))
            free, back = ([entry for entry in some if entry[1] not in gone] for some in (free, back))
            back += [(returns, card) for card in gone]
            for card in gone:
                loaded[card] = False
                if card in running:
                    _, begin, study, parts = running.pop(card)
                    kept, spent = _kept(parts, now - begin)
                    lost += spent
                    ready.appendleft((study, parts[kept:]))
            heapq.heapify(free)
            heapq.heapify(back)
        else:
            heapq.heappush(free, heapq.heappop(back))
    return Outcome(now, total / (now * cluster.cards) if now else 1.0, lost, failures, loads)


def _kept(parts: Sequence[float], seconds: float) -> tuple[int, float]:
    """How many parts are done after so many seconds, and how long the next has been at work."""
    count = 0
    while count < len(parts) - 1 and seconds >= parts[count]:
        seconds -= parts[count]
        count += 1
    return count, max(seconds, 0.0)


def whole(studies: Sequence[Study]) -> list[Study]:
    """Studies that one worker does from end to end, the longest first: how a survey gives them out."""
    lines = [[part for station in study for piece in station for part in piece] for study in studies]
    return [[[line]] for line in sorted(lines, key=sum, reverse=True)]


def llama_8b() -> Blueprint:
    """A Llama of 8B shape with the words of a multilingual model; no weights."""
    words = installed("qwen2.5-coder-0.5b") or installed("smollm2-135m")
    if words is None:
        raise SystemExit("a tokenizer is needed: emotion-circuits models install qwen2.5-coder-0.5b")
    folder = Path(tempfile.mkdtemp())
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (words / name).is_file():
            (folder / name).write_bytes((words / name).read_bytes())
    vocabulary = json.loads((words / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    shape: dict[str, Any] = {**SHAPES["llama-8b"], "vocab_size": vocabulary}
    LlamaConfig(**shape, tie_word_embeddings=False, max_position_embeddings=8192).save_pretrained(folder)
    found = blueprint(folder, device="cpu", dtype="bfloat16")
    assert found is not None
    return found


def block_weights(model: Blueprint) -> int:
    """Numbers in all blocks."""
    return sum(p.numel() for block in model.blocks for p in block.parameters())


def on_card(model: Blueprint, card: Card, here: Speed, rows: int) -> Speed:
    """How fast the card is at the model's shapes, judged by its published figures; processor work is that of this machine.

    A decoding step reads all weights once for all rows; a long batch is bound by its products.
    """
    blocks, head = block_weights(model), model.vocabulary * model.d_model
    reach, read = card.flops * card.reached, card.bandwidth * card.reached

    def row(weights: int) -> float:
        return max(2 * weights / reach, 2 * weights / read / rows)

    return replace(
        here, token=2 * blocks / reach, call=model.n_layers * 4e-5, row=row(blocks), unembed=row(head),
        choose=4 * model.vocabulary * 4 / read, solve=here.solve * torch.get_num_threads() / card.cores,
    )  # fmt: skip


def studies_of(model: Blueprint, speed: Speed, profile: str, spread: float) -> tuple[list[Study], dict[str, Any]]:
    """Every language with every attribute, in parts.

    A language with an attribute that the package has no corpus for is taken to cost what that attribute costs in English, times
    what the language's emotions cost over the English ones.

    Args:
        model: the shapes.
        speed: of a card.
        profile: of the studies.
        spread: standard deviation of the logarithm of a part's time.
    """
    made, tokens, size = {}, {}, {}
    for name in dict.fromkeys((*LANGUAGES, *ATTRIBUTES)):
        config = load_config(
            profile, overrides={"model": str(model.source), "attribute": name, "circuits.carried": "always"}
        )
        made[name] = estimate_study(config, model, speed)
        tokens[name] = sum(e.tokens for e in made[name].values())
        size[name] = sum(e.bytes for e in made[name].values())
    rng, found, n_tokens, n_bytes = np.random.default_rng(0), [], 0.0, 0.0
    for language in LANGUAGES:
        for attribute in ATTRIBUTES:
            stations = []
            for station, cost in made[attribute].items():
                english = made["emotion-en"][station].seconds
                ratio = made[language][station].seconds / english if english else 1.0
                seconds = cost.seconds * ratio
                # Parts of half a minute or so: shards, batches of texts, chunks of variants.
                count = max(1, round(seconds / 30))
                parts = seconds / count * rng.lognormal(-(spread**2) / 2, spread, count)
                stations.append([[part] for part in parts.tolist()])
            found.append(stations)
            n_tokens += tokens[attribute] * tokens[language] / tokens["emotion-en"]
            n_bytes += size[attribute] * size[language] / size["emotion-en"]
    by_station = {name: e.seconds for name, e in made["emotion-en"].items()}
    return found, {"tokens": n_tokens, "bytes": n_bytes, "seconds of emotion-en": by_station}


def measure_spread() -> float:
    """How much the times of equal parts differ here: of twenty batches of products of one size, log standard deviation."""
    x, w = torch.randn(512, 1024), torch.randn(1024, 1024)
    taken = []
    for _ in range(20):
        begun = time.process_time()
        for _ in range(10):
            x @ w
        taken.append(time.process_time() - begun)
    return float(np.log(taken).std())


def table(found: Mapping[str, Any]) -> str:
    lines = [
        "| cards | given out as | hours | card hours | busy | a node lost every | lost with it | hours then |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in found["rows"]:
        lines.append(
            f"| {row['cards']} | {row['as']} | {row['hours']:.1f} | {row['card_hours']:.0f} | {row['busy']:.0%} | "
            f"{row['every']:g} h | {row['lost_minutes']:.1f} card minutes | {row['hours_failing']:.1f} |"
        )
    work = found["work"]
    minutes = {name: seconds / MINUTE for name, seconds in work["seconds of emotion-en"].items() if seconds}
    stations = ", ".join(f"{name} {value:.1f} min" for name, value in minutes.items())
    lines += [
        "",
        f"Work: {work['tokens'] / 1e6:.0f} million tokens, {work['bytes'] / GIB:.0f} GiB written; one study of `emotion-en` on "
        f"one card: {stations}. Model: {found['weights'] / GIB:.1f} GiB, loaded by every worker once and again after a loss.",
    ]
    return "\n".join(lines)


def measured(profile: str, card: Card, every: float, seeds: int) -> dict[str, Any]:
    """Simulate all clusters."""
    model = llama_8b()
    spread = max(measure_spread(), 0.05)
    speed = on_card(model, card, calibrate(model), 64)
    studies, work = studies_of(model, speed, profile, spread)
    weights = 2 * (block_weights(model) + 2 * model.vocabulary * model.d_model)
    rows = []
    for cards in (1, 8, 64):
        for how, given in (("studies", whole(studies)), ("parts", studies)):
            plain = simulate(given, Cluster(cards))
            failing = [simulate(given, Cluster(cards, every), seed=seed) for seed in range(seeds)]
            gone = sum(o.failures for o in failing)
            rows.append(
                {
                    "cards": cards, "as": how, "hours": plain.seconds / HOUR, "card_hours": cards * plain.seconds / HOUR,
                    "busy": plain.busy, "every": every,
                    "lost_minutes": sum(o.lost for o in failing) / max(gone, 1) / MINUTE,
                    "hours_failing": float(np.mean([o.seconds for o in failing])) / HOUR,
                    "loads": plain.loads,
                }
            )  # fmt: skip
    return {"rows": rows, "work": work, "weights": weights, "spread": spread, "card": asdict(card), "profile": profile}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="baseline")
    parser.add_argument("--reached", type=float, default=Card.reached, help="share of the card's published figures")
    parser.add_argument("--every", type=float, default=12.0, help="hours after which a node goes, on average")
    parser.add_argument("--seeds", type=int, default=200, help="simulated runs with failures")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path, help="file whose marked part becomes the table")
    options = parser.parse_args()
    found = measured(options.profile, Card(reached=options.reached), options.every, options.seeds)
    print(json.dumps(found, indent=2) if options.json else table(found))
    if options.write:
        before, after = around(options.write)
        options.write.write_text(f"{before}{START}\n{table(found)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
