"""An invented attribute, complete with its corpora: warm and cold colours against sentences without any."""

import json
from itertools import permutations
from pathlib import Path

import yaml

# Five letters each, so that sentences of one scene are of one length under a tokenizer of characters.
WORDS = {
    "warm": ("amber", "coral", "peach", "ochre"),
    "cold": ("azure", "slate", "steel", "frost"),
    "plain": ("small", "heavy", "empty", "round"),
}
ANSWERS = {"warm": "w", "cold": "c", "plain": "p"}
THINGS = (
    "kettle", "lantern", "saddle", "bucket", "window", "carpet", "basket", "candle", "mirror", "ribbon", "anchor",
    "barrel", "button", "bottle", "cabinet", "curtain", "drawer", "engine", "feather", "garden", "hammer", "helmet",
    "jacket", "kitchen", "ladder", "marble", "needle", "oven", "paddle", "pillow", "quilt", "rocket", "sail", "table",
    "tunnel", "umbrella", "vase", "wagon", "yard", "zipper",
)  # fmt: skip
ENDINGS = (
    "stood by the door", "was sold on Monday", "belonged to a neighbour", "lay under the bench", "came in the post",
    "was kept for guests", "stayed in the attic", "had a place of its own",
)  # fmt: skip
STARTS = (
    "At the market",
    "On the way home",
    "After the rain",
    "In the back room",
    "Before noon",
    "At the counter",
    "Later",
)
PEOPLE = ("she", "the clerk", "my uncle", "a visitor")


def split_of(index: int, count: int) -> str:
    """Three fifths train, a fifth each for validation and test."""
    return "train" if index < count * 3 // 5 else "validation" if index < count * 4 // 5 else "test"


def sentences() -> list[dict]:
    """Forty scenes told three ways, the word that tells them apart marked."""
    rows = []
    for i, thing in enumerate(THINGS):
        for label, words in WORDS.items():
            word = words[i % len(words)]
            rows.append(
                {
                    "id": f"{thing}-{label}", "text": f"The {word} {thing} {ENDINGS[i % len(ENDINGS)]}.", "label": label,
                    "group": thing, "split": split_of(i, len(THINGS)), "language": "en", "set": "colours",
                    "spans": [[4, 9]] if label != "plain" else [],
                }
            )  # fmt: skip
    return rows


def openings(name: str, split: str | None = None) -> list[dict]:
    """Beginnings of texts without a colour."""
    texts = [f"{start}, {who}" for start in STARTS for who in PEOPLE]
    return [
        {
            "id": f"{name}-{i}", "text": text, "label": "plain", "group": f"{name}-{i}",
            "split": split or ("train", "validation", "test")[i % 3], "language": "en", "set": name, "spans": [],
        }
        for i, text in enumerate(texts)
    ]  # fmt: skip


def pairs() -> list[dict]:
    """Minimal pairs of every two labels, both ways round; an answer is one character, which is one token."""
    rows = []
    for a, b in permutations(WORDS, 2):
        for i, thing in enumerate(THINGS[:15]):
            first, second = (WORDS[label][i % 4] for label in (a, b))
            group = f"{'-'.join(sorted((a, b)))}-{thing}"
            rows.append(
                {
                    "id": f"{a}-{b}-{thing}", "text": f"The {first} {thing} is", "label": a, "group": group,
                    "split": split_of(i, 15), "language": "en", "set": "colours-pairs", "spans": [[4, 9]],
                    "answers": [ANSWERS[a]], "corrupted": f"The {second} {thing} is", "corrupted_label": b,
                    "corrupted_spans": [[4, 9]], "corrupted_answers": [ANSWERS[b]],
                }
            )  # fmt: skip
    return rows


COLOURS = {
    "name": "colours",
    "title": {"en": "Colours", "ja": "色"},
    "language": "en",
    "values": ["warm", "cold"],
    "reference": "plain",
    "corpora": {"fit": ["colours.jsonl"], "trace": "colours.jsonl"},
    "openings": {"choose": "openings.jsonl", "report": "fresh.jsonl"},
    "pairs": "pairs.jsonl",
    "lexicon": {"warm": [*WORDS["warm"], "warm"], "cold": [*WORDS["cold"], "cold"]},
    "judges": ["colours", "keywords"],
    "words": {"ja": {"warm": "暖色", "cold": "寒色", "plain": "無彩色"}},
    "colours": {"warm": "#AB3311", "cold": "#1133AB"},
    "prompting": {
        "plain": "Go on.",
        "instructions": {"warm": "Go on, in warm colours.", "cold": "Go on, in cold colours."},
        "examples": "colours.jsonl",
        "few_shot": "{instruction} Like these:\n{examples}",
        "chat": "{instruction}\n\n{text}",
    },
}


def write_colours(folder: Path, **changes) -> Path:
    """The attribute's file with everything it names beside it; ``changes`` replace fields, ``None`` leaves one out."""
    for name, rows in (
        ("colours", sentences()),
        ("openings", openings("openings")),
        ("fresh", openings("fresh", "test")),
        ("pairs", pairs()),
    ):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    fields = {key: value for key, value in {**COLOURS, **changes}.items() if value is not None}
    path = folder / "colours.yaml"
    path.write_text(yaml.safe_dump(fields, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path
