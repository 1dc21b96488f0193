"""The Japanese page and README speak with the glossary's words, one word for one thing."""

import re
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from translated import path_of

ROOT = Path(__file__).parents[2]
with path_of("ja").open("rb") as file:
    CATALOGUE = read_po(file)
TABLE = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ROWS = re.finditer(r"^\| ([^|]+) \| ([^|]+) \| ", TABLE, re.M)
GLOSSARY = {row[1].strip(): row[2].strip() for row in ROWS}
README = re.sub(r"```.*?```|`[^`]*`", "", (ROOT / "README.ja.md").read_text(encoding="utf-8"), flags=re.S)
OTHERS = {
    "chance level": "偶然の水準|偶然レベル|チャンスレベル",
    "null": "帰無(?!分布|仮説)|ヌル分布",
    "activation": "活性化(?!関数)|アクティベーション",
    "held-out": "取り置|取りおき|ホールドアウト",
    "gap": "論理差",
    "subspace": "サブスペース",
    "attention sink": "注意シンク|注意の(シンク|溜まり)",
    "layer": "レイヤー",
    "claim": "クレーム",
    "clean / corrupted prompt": "クリーン",
    "control": "コントロール",
    "pooling": "プール法",
    "steering": "操舵|舵取り",
}
"""Word of the glossary → other Japanese words for the same thing, which stand nowhere."""


def said():
    for message in CATALOGUE:
        if message.id:
            yield from (message.string if isinstance(message.string, tuple) else (message.string,))


@pytest.mark.parametrize("english", OTHERS)
def test_no_other_word_is_used_for_a_word_of_the_glossary(english):
    assert english in GLOSSARY
    assert [text for text in said() if re.search(OTHERS[english], text)] == []
    assert not re.search(OTHERS[english], README)
    assert not re.search(OTHERS[english], re.sub("（.*", "", GLOSSARY[english]))


ALONE = [
    "circuit",
    "claim",
    "null",
    "faithfulness",
    "head",
    "layer",
    "opening",
    "pooling",
    "verdict",
    "role",
    "split",
    "subspace",
    "stability",
    "neutral",
    "fluency",
    "profile",
]


@pytest.mark.parametrize("word", ALONE)
def test_a_word_alone_is_the_glossarys(word):
    told = {m.string for m in CATALOGUE if m.id == word}
    assert told == {re.sub("（.*", "", GLOSSARY[word])}


def test_the_words_of_the_report_are_those_agreed_on():
    by_id = {m.id: m.string for m in CATALOGUE if isinstance(m.id, str) and not m.context}
    assert by_id["In words:"] == "要約："
    assert by_id["Dose and response"] == "強さと効果"


SPOKEN = [
    "chance level",
    "null",
    "held-out",
    "residual norm",
    "direction",
    "opening",
    "claim",
    "verdict",
    "circuit",
    "minimal pair",
]
"""Words of the glossary that the README's findings cannot do without."""


@pytest.mark.parametrize("english", SPOKEN)
def test_the_readme_uses_the_glossarys_word(english):
    assert re.sub("（.*", "", GLOSSARY[english]) in README


def test_the_reports_verdicts_are_the_readmes():
    told = {
        m.id: m.string
        for m in CATALOGUE
        if m.context == "term" and m.id in ("supported", "not supported", "inconclusive")
    }
    assert set(re.findall(r"\| (?:\*\*)?(不支持|支持|判定不能)", README)) == set(told.values())
