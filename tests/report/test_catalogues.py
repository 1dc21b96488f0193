"""The catalogues' files: as ``make locale`` leaves them; and a language is there as soon as its file is."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from emotion_circuits.catalogues import LANGUAGES, read_catalogue
from translated import LOCALE, OTHERS, SOURCE, extract, path_of, pybabel

SWEDISH = """\
msgid ""
msgstr ""
"Language: sv\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"

msgid "layer"
msgstr "skikt"

msgctxt "term"
msgid "layer"
msgstr "lager"

msgid "layer {layer}"
msgstr "lager {layer}"

#, fuzzy
msgid "accuracy"
msgstr "lagerhållning"

msgid "alpha"
msgstr ""

msgid "({n} row)"
msgid_plural "({n} rows)"
msgstr[0] "({n} rad)"
msgstr[1] "({n} rader)"

msgid "{n} head"
msgid_plural "{n} heads"
msgstr[0] "{n} huvud"
msgstr[1] ""
"""


@pytest.fixture
def with_a_language(tmp_path):
    """Runs Python on a package that is this one, but for one more file among its catalogues."""
    package = tmp_path / "emotion_circuits"
    package.mkdir()
    for part in SOURCE.iterdir():
        if part.name != "locale":
            (package / part.name).symlink_to(part)
    shutil.copytree(LOCALE, package / "locale")

    def run(code, text, *arguments):
        path = path_of(code, package / "locale")
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
        return subprocess.run(
            [sys.executable, *arguments], env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    return run


def test_a_language_is_one_file(with_a_language):
    done = with_a_language(
        "sv",
        SWEDISH,
        "-c",
        "from emotion_circuits.language import LANGUAGES, nsay, say, speaking, term\n"
        "print(LANGUAGES)\n"
        "with speaking('sv') as spoken:\n"
        "    print(say('layer'), term('layer'), say('layer {layer}', layer=3), term('n'))\n"
        "    print(*(nsay('({n} row)', '({n} rows)', n) for n in (1, 2)))\n"
        "    print(say('accuracy'), say('alpha'), nsay('{n} head', '{n} heads', 1))\n"
        "print(sorted(spoken.missing))\n",
    )
    assert done.stdout.splitlines() == [
        "('en', 'ja', 'sv')",
        "skikt lager lager 3 n",
        "(1 rad) (2 rader)",
        # What is fuzzy, open, or open in one of its forms is not said.
        "accuracy alpha 1 head",
        "['accuracy', 'alpha', '{n} head']",
    ], done.stderr


def test_commands_offer_a_language_that_has_a_file(with_a_language):
    done = with_a_language("sv", SWEDISH, "-m", "emotion_circuits.cli", "trace", "I", "--lang", "fr")
    assert done.returncode == 2
    assert "'fr' is not one of 'en', 'ja', 'sv'" in done.stderr.replace("\n", " ")


def test_a_page_names_a_language_of_a_country_as_html_does(with_a_language, tmp_path):
    page = tmp_path / "page.html"
    done = with_a_language(
        "pt_BR",
        SWEDISH.replace("sv", "pt_BR"),
        "-c",
        "from pathlib import Path\n"
        "from emotion_circuits.language import speaking\n"
        "from emotion_circuits.page.page import Page, write_page\n"
        "with speaking('pt_BR'):\n"
        f"    write_page(Page('T', 'L', (), (), 'c', {{}}), Path({str(page)!r}))\n",
    )
    assert done.returncode == 0, done.stderr
    assert '<html lang="pt-BR">' in page.read_text(encoding="utf-8")


def test_a_line_that_cannot_be_read_is_named(with_a_language):
    broken = SWEDISH.replace('msgid "alpha"', 'msgidd "alpha"')
    done = with_a_language(
        "sv", broken, "-c",
        "from emotion_circuits.language import say, speaking\n"
        "from emotion_circuits.errors import EmotionCircuitsError\n"
        "try:\n"
        "    with speaking('sv'):\n"
        "        say('layer')\n"
        "except EmotionCircuitsError as error:\n"
        "    print(error)\n",
    )  # fmt: skip
    line = broken.splitlines().index('msgidd "alpha"') + 1
    assert re.search(rf"emotion_circuits\.po, line {line}: .* Mend that line: 'msgidd \"alpha\"'", done.stdout), done


def test_english_and_japanese_are_there():
    assert LANGUAGES[:2] == ("en", "ja")


def test_help_does_not_wait_for_babel():
    program = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from emotion_circuits.cli.app import app\n"
        "from emotion_circuits.language import say, speaking\n"
        "assert 'ja' in CliRunner().invoke(app, ['report', '--help']).output\n"
        "with speaking('en'): say('layer')\n"
        "assert 'babel' not in sys.modules\n"
        "with speaking('ja'): say('layer')\n"
        "assert 'babel' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_update_leaves_every_catalogue_as_it_is(tmp_path):
    """Every sentence of the code is in, sorted, once; no place in the code is named, nothing is fuzzy or obsolete."""
    shutil.copytree(LOCALE, tmp_path / "locale")
    extract(tmp_path / "all.pot")
    pybabel(
        "update", "-D", "emotion_circuits", "-i", tmp_path / "all.pot", "-d", tmp_path / "locale", "--no-wrap",
        "--no-fuzzy-matching", "--ignore-pot-creation-date",
    )  # fmt: skip
    for code in OTHERS:
        assert path_of(code, tmp_path / "locale").read_bytes() == path_of(code).read_bytes(), "run 'make locale'"


def test_an_update_begins_a_catalogue_with_everything_to_translate(tmp_path):
    extract(tmp_path / "all.pot")
    pybabel(
        "update", "-D", "emotion_circuits", "-i", tmp_path / "all.pot", "-d", tmp_path / "locale", "--no-wrap",
        "--no-fuzzy-matching", "--ignore-pot-creation-date", "--init-missing", "-l", "sv",
    )  # fmt: skip

    def keys(path):
        with path.open("rb") as file:
            return {(message.id, message.context) for message in read_catalogue(file, str(path))}

    assert keys(path_of("sv", tmp_path / "locale")) == keys(path_of("ja"))


@pytest.mark.parametrize("code", OTHERS)
def test_nothing_is_obsolete_fuzzy_or_there_twice(code):
    with path_of(code).open("rb") as file:
        catalogue = read_catalogue(file, code)
    assert not catalogue.obsolete
    assert not catalogue.fuzzy
    assert [message.id for message in catalogue if message.fuzzy] == []
    assert str(catalogue.locale) == code
    lines = path_of(code).read_text(encoding="utf-8").splitlines()
    # The reader merges an entry that is there twice; the header is one more.
    assert len([line for line in lines if line.startswith("msgid ")]) == len(catalogue) + 1
    assert not any(line.startswith("#:") for line in lines)
