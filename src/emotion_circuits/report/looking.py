"""What a run's tables say of one head, one layer, one token, one sentence: everything in one place, nothing computed anew."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from emotion_circuits.directions.trace_pictures import shown_token
from emotion_circuits.heads.nodes import shown_node
from emotion_circuits.language import say, term
from emotion_circuits.page.numerals import estimate, fixed, number, places, probability, signed
from emotion_circuits.page.page import Section, Sheet, Sheets
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.circuits.folder import CircuitsFolder
from emotion_circuits.stations.directions.folder import DirectionsFolder
from emotion_circuits.stations.trace.folder import TraceFolder

if TYPE_CHECKING:
    from emotion_circuits.directions import Trace

__all__ = ["looking_section", "sheets"]

_TOP = 8
"""Rows of what is largest."""

_Table = tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...]]
_Rows = list[tuple[str, ...]]
_Measured = list[tuple[float, tuple[str, ...]]]
"""Rows, each behind its q; not a number where it has none."""


def looking_section(run: Path) -> Section | None:
    """The section from which a head, a layer, a token or a sentence is opened; ``None`` where a run followed nothing through.

    Args:
        run: folder of a finished run.
    """
    found = sheets(run)
    if not found:
        return None
    title = say("Look closer")
    caption = say(
        "One head, MLP, layer, token or sentence at a time: what it writes, reads, attends to, does and carries, beside its "
        "nulls. Marks in the figures of heads, layers and tokens open the same sheets."
    )
    return Section(
        "closer", title, (), (), (Sheets("sheets", say("A head, a layer, a token, a sentence"), caption, found),)
    )


def sheets(run: Path) -> tuple[Sheet, ...]:
    """One sheet per layer, part, token of the sentence that was followed, and sentence, as far as stations left tables.

    Args:
        run: folder of a finished run.
    """
    trace, circuits = TraceFolder.of(run), CircuitsFolder.of(run)
    if not trace.writers.exists():
        return ()
    measured = _measured(trace, circuits)
    texts = _Texts(run, circuits)
    parts = sorted(measured, key=_order)
    return (
        *_layers(run, parts, measured),
        *(_part(name, measured[name], texts) for name in parts),
        *_tokens(trace.example()),
        *texts.sheets(),
    )


def _order(name: str) -> tuple[int, bool, int]:
    layer, head = re.match(r"L(\d+)", name), re.search(r"H(\d+)$", name)
    return (int(layer[1]) if layer else -1, head is None, int(head[1]) if head else -1)


# -- parts -----------------------------------------------------------------------------------------------------------


def _measured(trace: TraceFolder, circuits: CircuitsFolder) -> dict[str, _Measured]:
    """Part → what was measured of it."""
    found: dict[str, _Measured] = {}
    writes = say("writes at the last token (residual norms)")
    for row in _test(trace.writers.read()):
        found.setdefault(str(row["component"]), []).append(_beside_null(writes, row))
    reads = say("reads: change of its output (share of its length)")
    for row in _test(trace.readers.read()):
        found.setdefault(str(row["component"]), []).append(_beside_null(reads, row))
    if trace.attention.exists():
        looks = say("attends to emotion words (share of attention)")
        for row in _test(trace.attention.read()):
            found.setdefault(f"L{row['layer']}H{row['head']}", []).append(_beside_null(looks, row))
    if circuits.carriers.exists():
        carries = say("carries to the direction (residual norms)")
        for row in _test(circuits.carriers.read()):
            found.setdefault(shown_node(str(row["component"])), []).append(_beside_null(carries, row))
    if circuits.heads.exists():
        for row in circuits.heads.read().to_dict("records"):
            own = found.setdefault(shown_node(str(row["node"])), [])
            estimated = say("estimated effect on answers of pairs (logits, train)")
            own.append((float("nan"), (estimated, "", signed(row["attribution"]), "", "")))
            if row["effect"] == row["effect"]:
                own.append(
                    _beside_null(say("measured effect on answers of pairs (logits, test)"), row, figure="effect")
                )
    return found


def _test(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table[table["split"] == "test"].to_dict("records")


def _beside_null(what: str, row: Mapping[Any, Any], figure: str = "difference") -> tuple[float, tuple[str, ...]]:
    null = ""
    if "null_low" in row and row["null_low"] == row["null_low"]:
        decimals = places(row["null_low"], row["null_high"])
        null = f"{fixed(row['null_low'], decimals)} … {fixed(row['null_high'], decimals)}"
    shown = estimate(float(row[figure]), (row["low"], row["high"]))
    return float(row["q"]), (what, term(str(row.get("emotion", ""))), shown, null, probability(row["q"]))


def _part(name: str, measured: _Measured, texts: _Texts) -> Sheet:
    columns = (say("what"), say("emotion"), say("figure [95 % interval]"), say("null (95 %)"), "q")
    layer = re.match(r"L\d+", name)
    kind = say("heads") if re.search(r"H\d+$", name) else say("MLPs and other parts")
    return Sheet(
        name,
        kind,
        term(name),
        ((say("What it does, test sentences and pairs"), columns, tuple(row for _, row in measured)), *texts.of(name)),
        (layer[0],) if layer else (),
    )


def _layers(run: Path, parts: list[str], measured: dict[str, _Measured]) -> Iterator[Sheet]:
    readings = _readings(run)
    inside: dict[str, list[str]] = {}
    for name in parts:
        layer = re.match(r"L\d+", name)
        if layer:
            inside.setdefault(layer[0], []).append(name)
    for layer_name, names in inside.items():
        tables: list[_Table] = []
        rows = readings.get(int(layer_name[1:]), [])
        if rows:
            read = (say("corpus"), say("accuracy"), say("words alone"), say("chance"))
            tables.append((say("Emotion read from its states, test sentences"), read, tuple(rows)))
        beyond = [(name, *row) for name in names for q, row in measured[name] if q < 0.05]
        if beyond:
            columns = (say("part"), say("what"), say("emotion"), say("figure [95 % interval]"), say("null (95 %)"), "q")
            tables.append((say("Parts with q < 0.05 (claims ask for more)"), columns, tuple(beyond)))
        yield Sheet(layer_name, say("layers"), say("layer {layer}", layer=layer_name[1:]), tuple(tables), tuple(names))


def _readings(run: Path) -> dict[int, _Rows]:
    """Layer → corpora, as the figure of accuracies by layer shows them."""
    folder = DirectionsFolder.of(run)
    if not folder.single.exists():
        return {}
    table, single = folder.evaluation.read(), folder.single.read()
    for column in ("extractor", "pooling", "reading", "kind"):
        if column in single:
            table = table[table[column] == single[column].iloc[0]]
    found: dict[int, _Rows] = {}
    for row in table[table["split"] == "test"].to_dict("records"):
        shown = (str(row["set"]), *(number(float(row[c])) for c in ("accuracy", "words_alone", "chance")))
        found.setdefault(int(row["layer"]), []).append(shown)
    return found


# -- tokens ----------------------------------------------------------------------------------------------------------


def _tokens(found: Trace) -> Iterator[Sheet]:
    for place, token in enumerate(found.tokens):
        tables: list[_Table] = []
        if place in found.sinks:
            tables.append((say("An attention sink: left out of every figure"), (), ()))
        else:
            rows = [
                (term(label), signed(float(found.whole[k, place])), signed(float(found.projection[k, -1, place])))
                for k, label in enumerate(found.labels)
            ]
            columns = (say("emotion"), say("leaving layer {layer}", layer=found.layer), say("leaving the last layer"))
            tables.append((say("How far its state points along each direction (residual norms)"), columns, tuple(rows)))
            for label in found.labels:
                top = found.components(label, place).head(_TOP)
                written = tuple(
                    (term(str(name)), signed(part)) for name, part in zip(top["component"], top["part"], strict=True)
                )
                heading = say("Who writes {emotion} there (one text, no interval)", emotion=term(label))
                tables.append((heading, (say("part"), say("residual norms")), written))
        if found.attention_from_last is not None:
            given = found.attention_from_last[:, :, place]
            strongest = given.flatten().topk(min(_TOP, given.numel()))
            looking = tuple(
                (f"L{int(i) // given.shape[1]}H{int(i) % given.shape[1]}", number(float(share)))
                for share, i in zip(strongest.values, strongest.indices, strict=True)
            )
            shares = (say("head"), say("share of attention"))
            tables.append((say("Heads of the last token that look at it most"), shares, looking))
        title = say("token {number}: “{token}”", number=place + 1, token=shown_token(token))
        kind = say("tokens of “{text}”", text=found.text)
        near = tuple(f"T{other}" for other in (place - 1, place + 1) if 0 <= other < len(found.tokens))
        yield Sheet(f"T{place}", kind, title, tuple(tables), near)


# -- sentences -------------------------------------------------------------------------------------------------------


class _Texts:
    """Sentences by what parts carried in them; none where that was not measured."""

    def __init__(self, run: Path, circuits: CircuitsFolder) -> None:
        self.rows: list[tuple[str, str, str]] = []
        self.carried = pd.DataFrame(columns=["node", "sentence", "effect"])
        if not circuits.effects.exists():
            return
        effects = circuits.effects.read()
        effects = effects[effects["task"] == "carried"]
        held = CaptureFolder.of(run).rows()
        held = held[held["group"].isin(set(effects["group"])) & held["label"].isin(set(effects["value"]))]
        # A group with several sentences of a value has one figure, their mean: none of them stands for it.
        alone = held.drop_duplicates(["group", "label"], keep=False)
        self.rows = list(zip(alone["id"], alone["label"], alone["text"], strict=True))
        keyed = effects.merge(alone[["id", "group", "label"]], left_on=["group", "value"], right_on=["group", "label"])
        named = [shown_node(str(node)) for node in keyed["node"]]
        self.carried = pd.DataFrame({"node": named, "sentence": keyed["id"], "effect": keyed["effect"]})
        self.by_node = dict(iter(self.carried.groupby("node", sort=False)))
        self.told = {name: (term(str(label)), text) for name, label, text in self.rows}

    def of(self, part: str) -> tuple[_Table, ...]:
        """The sentences in which a part carries most."""
        if not len(self.carried) or part not in self.by_node:
            return ()
        top = self.by_node[part].nlargest(_TOP, "effect")
        rows = tuple(
            (self.told[n][1], self.told[n][0], signed(e)) for n, e in zip(top["sentence"], top["effect"], strict=True)
        )
        columns = (say("sentence"), say("emotion"), say("carries (residual norms)"))
        return ((say("Sentences in which it carries most to their direction"), columns, rows),)

    def sheets(self) -> Iterator[Sheet]:
        """One per sentence: which parts carry it."""
        by = dict(iter(self.carried.groupby("sentence", sort=False)))
        for name, label, text in self.rows:
            if name not in by:
                continue
            top = by[name].sort_values("effect", key=abs, ascending=False, kind="stable").head(2 * _TOP)
            rows = tuple((node, signed(effect)) for node, effect in zip(top["node"], top["effect"], strict=True))
            columns = (say("part"), say("carries (residual norms)"))
            heading = say("What carries {emotion} here (one sentence, no interval)", emotion=term(str(label)))
            kind = say("sentences of {emotion}", emotion=term(str(label)))
            yield Sheet(f"S-{name}", kind, text, ((heading, columns, rows),), tuple(dict.fromkeys(top["node"])))
