"""Licences of everything that is locked, as its own metadata says: ``python docs/licences.py`` writes ``docs/licences.md``.

Packages of other platforms, which are not installed here, keep the line that was written where they were.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"

_HEAD = """# Licences of dependencies

What stands in `requirements.lock` and `constraints.txt`, with the licence that each package's own metadata states. Written by
`make licences`; a test compares it with the lock and with the licences that are allowed.

| package | licence |
| --- | --- |
"""
_SHORT = (
    (r"apache.*2|^apache|apache software", "Apache-2.0"), (r"^mit\b|mit license|^expat", "MIT"),
    (r"3-clause|new bsd|modified bsd", "BSD-3-Clause"), (r"2-clause|simplified bsd", "BSD-2-Clause"), (r"^bsd\b", "BSD"),
    (r"mpl|mozilla", "MPL-2.0"), (r"^isc", "ISC"), (r"psf|python software", "PSF-2.0"), (r"unlicense", "Unlicense"),
    (r"lesser general|lgpl", "LGPL"), (r"affero|agpl", "AGPL"), (r"general public|gpl", "GPL"), (r"hpnd", "HPND"),
    (r"zope|zpl", "ZPL-2.1"), (r"public domain", "Public domain"), (r"nvidia", "NVIDIA"),
)  # fmt: skip


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> list[str]:
    """Names of every locked package."""
    names = [
        normal(name)
        for file in ("requirements.lock", "constraints.txt")
        for name in re.findall(r"^([A-Za-z0-9_.-]+)==", (ROOT / file).read_text(encoding="utf-8"), re.M)
    ]
    return sorted(set(names))


def licence_of(name: str) -> str | None:
    """The licence of an installed package in few words; ``None`` where it is not installed, empty where it says none."""
    try:
        found = metadata(name)
    except PackageNotFoundError:
        return None
    if expression := found.get("License-Expression"):
        return str(expression)
    classified = [c.rsplit(" :: ", 1)[-1] for c in found.get_all("Classifier") or [] if c.startswith("License ::")]
    said = [*classified, *str(found.get("License") or "").strip().splitlines()[:1]]
    for text in said:
        for pattern, short in _SHORT:
            if re.search(pattern, text, re.I):
                return short
    return said[0][:60] if said else ""


def rows(page: Path = PAGE) -> dict[str, str]:
    """Package → licence, as the page says."""
    if not page.exists():
        return {}
    found = re.findall(r"^\| ([a-z0-9][a-z0-9-]+) \| (.+) \|$", page.read_text(encoding="utf-8"), re.M)
    return {name: licence for name, licence in found if name != "package"}


def main() -> None:
    """Write the page."""
    kept, lines, unknown = rows(), [], []
    for name in locked():
        licence = licence_of(name) or kept.get(name) or "unknown"
        if licence == "unknown":
            unknown.append(name)
        lines.append(f"| {name} | {licence} |\n")
    PAGE.write_text(_HEAD + "".join(lines), encoding="utf-8")
    if unknown:
        sys.exit(f"no licence known of {', '.join(unknown)}: write it into {PAGE.name} by hand")


if __name__ == "__main__":
    main()
