"""Catalogues as their files have them, and the sentences that Babel extracts from the code."""

import re
from functools import cache
from pathlib import Path

from babel.messages.frontend import CommandLineInterface

import emotion_circuits
from emotion_circuits.catalogues import LANGUAGES, read_catalogue

SOURCE = Path(emotion_circuits.__file__).parent
ROOT = Path(__file__).parents[1]
LOCALE = SOURCE / "locale"
OTHERS = [code for code in LANGUAGES if code != "en"]


def path_of(code, locale=LOCALE):
    return locale / code / "LC_MESSAGES" / "emotion_circuits.po"


@cache
def entries(code):
    """Messages of a language's catalogue."""
    with path_of(code).open("rb") as file:
        return tuple(message for message in read_catalogue(file, code) if message.id)


def key_of(message):
    """The English sentence; the singular of one with a number."""
    return message.id[0] if message.pluralizable else message.id


def forms_of(message):
    """Pairs of English and the other language; every form of a plural stands beside both English ones."""
    if message.pluralizable:
        return [(english, form) for english in message.id for form in message.string]
    return [(message.id, message.string)]


def terms(code):
    return {message.id for message in entries(code) if message.context == "term"}


def texts(code):
    """Sentences of a catalogue, each with its message."""
    return {key_of(message): message for message in entries(code) if not message.context}


def pybabel(*arguments):
    assert not CommandLineInterface().run(["pybabel", "-q", *map(str, arguments)])


def extract(template, *options):
    """Write the template that ``make locale`` writes."""
    pybabel(
        "extract", "-F", ROOT / "pyproject.toml", "--no-location", "--sort-output", "--no-wrap", *options, "-o",
        template, SOURCE,
    )  # fmt: skip


def template_sentences():
    """What the page's template says."""
    template = (SOURCE / "page" / "template.html.j2").read_text(encoding="utf-8")
    return {match[2] for match in re.finditer(r"""\bn?say\((['"])(.*?)\1""", template)}
