"""The figures of the data card, written between its markers by a command and never by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emotion_circuits.curation.agreement import Agreement
from emotion_circuits.curation.describing import Description
from emotion_circuits.curation.surface import Accuracy
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import replacing

if TYPE_CHECKING:
    from emotion_circuits.evaluation import Validation

__all__ = ["card_sections", "write_card"]


def card_sections(
    description: Description,
    embedding: Sequence[Accuracy] = (),
    words: Sequence[Accuracy] = (),
    judged: Sequence[tuple[Validation, int]] = (),
    agreed: Mapping[str, Agreement] | None = None,
) -> dict[str, str]:
    """Marker → Markdown.

    Args:
        description: of the bundled sets.
        embedding: accuracy of the sentence-embedding classifier on each held-out set; its ``bar`` is a least value.
        words: accuracy of tuned n-grams and of length alone on held-out sets, as
            :func:`~emotion_circuits.curation.words.across_sets` gives it.
        judged: how judges do on labelled sets, each with the number of groups of the set.
        agreed: set that two people labelled → their agreement.
    """
    return {
        "counts": _counts(description),
        "lengths": _lengths(description),
        "surface": _surface(description),
        "transfer": _transfer(description),
        "words": _words(words),
        "embedding": _embedding(embedding),
        "agreement": _agreement(agreed or {}),
        "judges": _judges(judged),
        "found": _found(judged),
        "telling": _telling(description),
    }


def write_card(path: Path, sections: Mapping[str, str]) -> None:
    """Replace what stands between ``<!-- figures: NAME -->`` and ``<!-- end -->``, for every section.

    Raises:
        EmotionCircuitsError: the file is missing, lacks a marker, or has one that no section fills.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise EmotionCircuitsError(f"{path}: cannot be read: {error.strerror}") from error
    pattern = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
    present = [match[2] for match in pattern.finditer(text)]
    if sorted(present) != sorted(sections):
        raise EmotionCircuitsError(
            f"{path}: needs each of these markers once: {', '.join(sorted(sections))}; it has: {', '.join(present)}"
        )
    filled = pattern.sub(lambda match: f"{match[1]}{sections[match[2]].rstrip()}\n{match[3]}", text)
    with replacing(path) as temporary:
        temporary.write_text(filled, encoding="utf-8")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _counts(description: Description) -> str:
    rows = []
    for s in description.sets:
        labels = ", ".join(f"{label} {count}" for label, count in s.labels.items())
        splits = " / ".join(str(count) for count in s.splits.values())
        rows.append([f"`{s.name}`", ", ".join(s.languages), str(s.rows), str(s.groups), labels, splits])
    return _table(["set", "language", "rows", "groups", "labels", "train / validation / test"], rows)


def _lengths(description: Description) -> str:
    rows = []
    for s in description.sets:
        for label, length in s.lengths.items():
            rows.append([f"`{s.name}`", label, f"{length.mean:.2f}", f"{length.shortest}–{length.longest}", s.unit])
    return _table(["set", "label", "mean", "range", "unit"], rows)


def _figure(a: Accuracy, *, at_least: bool = False) -> list[str]:
    low, high = a.interval
    if a.bar is None:
        bar = "none"
    else:
        met = a.accuracy >= a.bar if at_least else a.accuracy <= a.bar
        bar = f"{'≥' if at_least else '≤'} {a.bar:.2f}: {'met' if met else '**missed**'}"
    return [f"{a.accuracy:.3f}", f"{low:.3f}–{high:.3f}", f"{a.chance:.3f}", bar, f"{a.rows} / {a.groups}"]


_FIGURE_HEADER = ["accuracy", "95 % interval", "chance", "bar", "rows / groups"]


def _surface(description: Description) -> str:
    rows = [
        [f"`{s.name}`", a.name, *_figure(a)]
        for s in description.sets
        for a in s.accuracies
        if a.name != "bag of words from core"
    ]
    return _table(["set", "reads", *_FIGURE_HEADER], rows)


def _transfer(description: Description) -> str:
    rows = [
        [f"`{s.name}`", *_figure(a)]
        for s in description.sets
        for a in s.accuracies
        if a.name == "bag of words from core"
    ]
    return _table(["scored on", *_FIGURE_HEADER], rows)


def _words(words: Sequence[Accuracy]) -> str:
    rows = [[f"`{a.name.split(': ')[0]}`", a.name.split(": ")[1], *_figure(a)] for a in words]
    return _table(["scored on", "reads", *_FIGURE_HEADER], rows)


def _embedding(embedding: Sequence[Accuracy]) -> str:
    return _table(["scored on", *_FIGURE_HEADER], [[a.name, *_figure(a, at_least=True)] for a in embedding])


def _agreement(agreed: Mapping[str, Agreement]) -> str:
    rows = []
    for name, a in agreed.items():
        low, high = a.interval
        each = ", ".join(f"{label} {first}, {second}, {both}" for label, (first, second, both) in a.each.items())
        rows.append([f"`{name}`", str(a.texts), str(a.same), f"{a.kappa:.3f}", f"{low:.3f}–{high:.3f}", each])
    return _table(["set", "texts", "same label", "Cohen's kappa", "95 % interval", "label: first, second, both"], rows)


def _judges(judged: Sequence[tuple[Validation, int]]) -> str:
    rows = []
    for v, groups in judged:
        low, high = v.interval
        figures = [f"{v.accuracy:.3f}", f"{low:.3f}–{high:.3f}", f"{v.majority:.3f}", f"{v.n} / {groups}"]
        rows.append([f"`{v.evaluator}`", f"`{v.data}` ({v.split})", *figures])
    return _table(["judge", "judges", "accuracy", "95 % interval", "commonest label", "rows / groups"], rows)


def _found(judged: Sequence[tuple[Validation, int]]) -> str:
    from emotion_circuits.evaluation import per_label
    from emotion_circuits.evaluation.validating import WRITTEN

    rows = []
    for v, _ in judged:
        for r in per_label(v.confusion).to_dict("records") if v.data in WRITTEN else ():
            found = [f"{r['recall']:.2f}", f"{r['recall_low']:.2f}–{r['recall_high']:.2f}"]
            right = [f"{r['precision']:.2f}", f"{r['precision_low']:.2f}–{r['precision_high']:.2f}"]
            called = right if r["called"] else ["none", "none"]
            rows.append([f"`{v.evaluator}`", f"`{v.data}`", r["label"], str(r["n"]), *found, str(r["called"]), *called])
    header = ["judge", "judges", "label", "rows", "recall", "95 % interval", "called so", "precision", "95 % interval"]
    return _table(header, rows)


def _telling(description: Description) -> str:
    rows = []
    for s in description.sets:
        for label, grams in s.telling.items():
            rows.append([f"`{s.name}`", label, ", ".join(f"{gram} ({z:.1f})" for gram, z in grams) or "none"])
    return _table(["set", "label", "n-grams (z)"], rows)
