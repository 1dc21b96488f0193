"""LaTeX that prints a text as it stands: whatever a text holds, TeX takes nothing of it for a command."""

import re
import shutil
import string
import subprocess

import pytest

from emotion_circuits.language import speaking
from emotion_circuits.page.latex import CITED, claims_table, latex, latex_prose
from emotion_circuits.page.telling import tell
from emotion_circuits.page.words import Kind, Words
from emotion_circuits.report.paper import _references
from report.test_page import claim

NASTY = (
    string.printable + "…–—−×≤≥√∥²ᵀ₁αΔ°“”‘’\x00\x07\ud83d --- ``'' \\\\ \\input{x} %^^M $x$ {{ }} a_b^c ~ éß 感謝 謝罪"
)
ACTIVE = re.compile(r"(?<!\\)[#$%&_^~]")
"""Characters that mean something where no backslash stands before them; those of mathematics are set by the writer."""


def test_no_character_of_a_text_means_anything_to_tex():
    plain = latex(string.printable)
    assert not ACTIVE.search(plain)
    assert plain.count("{") == plain.count("}")
    # Every command is one of the writer's own, and ends where its braces close.
    assert set(re.findall(r"\\[A-Za-z]+", latex("\\input{passwd} \\write18 \\def\\x{}"))) == {
        "\\textbackslash", "\\textbraceleft", "\\textbraceright"
    }  # fmt: skip


def test_control_characters_and_halves_of_characters_are_named():
    assert latex("a\x00b\x07\ud83d") == "aU+0000bU+0007U+D83D"
    latex(NASTY).encode()


def test_a_text_that_looks_like_a_citation_cites_nothing():
    assert latex_prose("See [@sun2024] and [@nobody; @sun2024].", {"sun2024"}) == (
        r"See~\cite{sun2024} and [@nobody; @sun2024]."
    )


def test_every_entry_of_the_bibliography_is_whole():
    for key, entry in _references().items():
        assert re.match(rf"@(misc|article|inproceedings){{{key},\n", entry)
        assert entry.count("{") == entry.count("}")
        fields = dict(re.findall(r"^  (\w+) = {(.*)},?$", entry, re.M))
        assert {"author", "title", "year"} <= set(fields)
        assert fields.get("journal") or not entry.startswith("@article")
        assert fields.get("booktitle") or not entry.startswith("@inproceedings")


def test_what_the_sentences_of_methods_cite_is_in_the_bibliography():
    from pathlib import Path

    import emotion_circuits

    root = Path(emotion_circuits.__file__).parent
    sources = [*root.glob("stations/*/methods.py"), root / "report" / "paper.py"]
    cited = {
        key
        for file in sources
        for found in CITED.findall(file.read_text(encoding="utf-8"))
        for key in found.split("; @")
    }
    assert cited - {"model", "emotion-circuits", "key", "one", "two"} <= set(_references())
    assert {"turner2023", "elhage2021", "benjamini1995"} <= cited


@pytest.mark.slow
@pytest.mark.skipif(not all(map(shutil.which, ("latexmk", "lualatex"))), reason="there is no latexmk, or no LuaLaTeX")
def test_a_table_with_every_character_compiles(tmp_path):
    kinds = {"test.shown": Kind("test.shown", lambda _: Words(NASTY, NASTY, "prompts", NASTY))}
    with speaking("en"):
        table = claims_table(tell([claim()] * 60, kinds), caption=NASTY, label="tab:nasty")
    head = r"\documentclass{article}\usepackage{booktabs,longtable,array}\begin{document}"
    (tmp_path / "x.tex").write_text(f"{head}\n{table}\n\\end{{document}}\n", encoding="utf-8")
    done = subprocess.run(
        ["latexmk", "-lualatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
