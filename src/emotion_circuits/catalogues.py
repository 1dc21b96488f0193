"""Catalogues of translations: one gettext file per language, read as it is written.

``locale/CODE/LC_MESSAGES/emotion_circuits.po`` is what translators write and what is read at run time; no compiled file can be
older than it. Babel is imported where a catalogue is read, so that whoever speaks English alone does not wait for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from gettext import GNUTranslations
from importlib.resources import files
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any

from emotion_circuits.errors import EmotionCircuitsError

if TYPE_CHECKING:
    from babel.messages.catalog import Catalog

__all__ = ["LANGUAGES", "TERM", "kept_messages", "read_catalogue", "translations"]

_LOCALE = files("emotion_circuits") / "locale"
_FILE = ("LC_MESSAGES", "emotion_circuits.po")

LANGUAGES = ("en", *sorted(folder.name for folder in _LOCALE.iterdir() if folder.joinpath(*_FILE).is_file()))
"""English, which is what the code says, and every language that has a catalogue."""

TERM = "term"
"""Message context of words of the data: a column may be called like a sentence and be translated otherwise."""


def translations(code: str) -> GNUTranslations:
    """What a language's catalogue translates; what it leaves open or marks as fuzzy it lacks.

    Raises:
        EmotionCircuitsError: a line of the catalogue cannot be read.
    """
    from babel.messages.mofile import write_mo

    path = _LOCALE.joinpath(code, *_FILE)
    with path.open("rb") as file:
        found = read_catalogue(file, str(path))
    for message in list(found):
        # An open form of a plural would be filled with English silently.
        if message.pluralizable and not all(message.string or ()):
            found.delete(message.id, message.context)
    compiled = BytesIO()
    write_mo(compiled, found)
    compiled.seek(0)
    return GNUTranslations(compiled)


def read_catalogue(file: IO[bytes], name: str) -> Catalog:
    """A catalogue's messages, with their contexts, plurals and flags.

    Args:
        file: the ``.po`` file, open for reading.
        name: of the file, for errors.

    Raises:
        EmotionCircuitsError: a line of it cannot be read.
    """
    from babel.messages.pofile import PoFileError, read_po

    try:
        return read_po(file, abort_invalid=True)
    except PoFileError as error:
        what = str(error).removesuffix(f" on {error.lineno}")
        raise EmotionCircuitsError(
            f"{name}, line {error.lineno + 1}: {what}. Mend that line: {error.line!r}"
        ) from error


def kept_messages(
    file: IO[bytes],
    _keywords: object,
    _comment_tags: object,
    options: object,  # noqa: ARG001 - Babel passes it by name
) -> Iterator[tuple[int, str, tuple[str, ...] | str, list[str]]]:
    """An extractor for Babel: what a catalogue holds already.

    Words of the data, and sentences of tables without :func:`emotion_circuits.language.N_`, are literals in no call that an
    extractor knows. Taken from the catalogues themselves they outlive an update and reach every language.
    """
    for message in read_catalogue(file, file.name):
        forms: Any = tuple(message.id) if message.pluralizable else (message.id,)
        if message.id and message.context:
            yield 1, "npgettext" if message.pluralizable else "pgettext", (message.context, *forms), []
        elif message.id:
            yield 1, "ngettext" if message.pluralizable else "gettext", forms, []
