"""The README's picture is of its command, and the Japanese README says what the English one says."""

import re
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
PICTURE = ROOT / "docs" / "assets" / "chat.svg"
SVG = "{http://www.w3.org/2000/svg}"


def test_the_animated_picture_is_of_the_command_above_it():
    tree = ElementTree.parse(PICTURE)
    command = tree.find(f"{SVG}title").text
    before, _, _ = ENGLISH.partition("](docs/assets/chat.svg)")
    shown = re.findall(r"^```\n(.*?)\n```$", before, re.M | re.S)[-1]
    assert shown.replace('"', "'") == command
    written = tree.find(f"{SVG}desc").text
    assert "the model" in written
    assert "gratitude, dose 1" in written


def test_the_animated_picture_is_small_and_fetches_nothing():
    text = PICTURE.read_text(encoding="utf-8")
    assert len(text.encode()) < 1_000_000
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}
    assert set(re.findall(r'href="(.)', text)) == {"#"}
    placed = {use.get("href")[1:] for use in ElementTree.parse(PICTURE).iter(f"{SVG}use")}
    assert placed == {line.get("id") for line in ElementTree.parse(PICTURE).iter(f"{SVG}g") if line.get("id")}


def test_every_file_that_a_readme_names_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", ENGLISH):
        assert (ROOT / target).exists(), target


JAPANESE = (ROOT / "README.ja.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)


def blocks(text):
    """Paragraphs, tables and headings in order; code stands for itself."""
    kept = FENCE.sub(lambda block: block[0].replace("\n\n", "\n"), text)
    return [block for block in kept.split("\n\n") if block.strip()]


def is_code(block):
    return block.startswith("```")


def figures(block, *, counts):
    """Every number of a block, sorted, since languages order them differently.

    Without ``counts`` no bare digit, which prose spells out.
    """
    plain = re.sub(r"`[^`]*`|\]\([^)]*\)", " ", block).replace("−", "-")
    found = re.findall(r"[-+]?(?<![\w.])\d+(?:\.\d+)?", plain)
    return sorted(n for n in found if counts or not re.fullmatch(r"\d", n))


def test_the_readmes_name_each_other():
    assert "](README.ja.md)" in ENGLISH
    assert "](README.md)" in JAPANESE


def test_the_japanese_readme_has_the_same_code():
    assert FENCE.findall(JAPANESE) == FENCE.findall(ENGLISH)
    assert len(FENCE.findall(ENGLISH)) >= 8


def test_the_japanese_readme_links_to_the_same_files():
    named = [set(re.findall(r"\]\(([^)#]+)\)", text)) - {"README.md", "README.ja.md"} for text in (ENGLISH, JAPANESE)]
    assert named[0] == named[1]
    assert set(re.findall(r"`docs/[^`]+`", ENGLISH)) == set(re.findall(r"`docs/[^`]+`", JAPANESE))


def test_the_japanese_readme_has_the_same_figures_block_by_block():
    ours, theirs = blocks(JAPANESE), blocks(ENGLISH)
    assert len(ours) == len(theirs)
    for japanese, english in zip(ours, theirs, strict=True):
        if is_code(english):
            continue
        rows = [[line for line in block.splitlines() if line.startswith("|")] for block in (japanese, english)]
        assert len(rows[0]) == len(rows[1]), english
        for row, row_en in zip(*rows, strict=True):
            assert figures(row, counts=True) == figures(row_en, counts=True), row_en
            assert re.findall(r"`[^`]+`", row) == re.findall(r"`[^`]+`", row_en)
        prose, prose_en = (
            "\n".join(line for line in block.splitlines() if not line.startswith("|")) for block in (japanese, english)
        )
        assert figures(prose, counts=False) == figures(prose_en, counts=False), prose_en


def test_figures_that_differ_are_seen():
    assert figures("差 +0.04 [−0.04, +0.11]、9 個中 3 個", counts=True) == ["+0.04", "+0.11", "-0.04", "3", "9"]
    assert figures("0.93 of 9", counts=False) == ["0.93"]
    assert figures("`q = 0.05` L13H6", counts=True) == []


VERDICTS = {"supported": "支持", "not supported": "不支持", "inconclusive": "判定不能"}


def test_verdicts_are_the_same_row_by_row():
    rows = [[line for line in text.splitlines() if line.startswith("|")] for text in (ENGLISH, JAPANESE)]
    told = 0
    for english, japanese in zip(*rows, strict=True):
        said = re.search(r"\b(not supported|supported|inconclusive)\b", english)
        if said:
            told += 1
            found = re.search("不支持|支持|判定不能", japanese)
            assert found, english
            assert found[0] == VERDICTS[said[0]], english
    assert told > 30
