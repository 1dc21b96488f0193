"""Every package that is installed is locked, by version and by the sums of its files."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def locked():
    text = (ROOT / "requirements.lock").read_text()
    blocks = re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)(.*?)(?=^[A-Za-z]|\Z)", text, re.M | re.S)
    return {
        normal(name): (version, re.findall(r"--hash=sha256:([0-9a-f]{64})\b", rest)) for name, version, rest in blocks
    }


def constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {normal(name): version.strip() for name, version in pairs}


def test_every_locked_package_has_the_version_of_the_constraints_and_sums():
    packages, versions = locked(), constraints()
    assert len(packages) > 150
    for name, (version, sums) in packages.items():
        assert sums, name
        assert version == versions.get(name, version), name


def test_every_package_that_is_needed_is_locked_but_torch():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["dev"], *extras["docs"], *extras["pdf"], *extras["tracking"]]
    names = {normal(re.match(r"[A-Za-z0-9_.-]+", line)[0]) for line in needed} - {"emotion-circuits"}
    assert names - set(locked()) == {"torch"}


def test_the_lock_names_no_index():
    assert "://" not in (ROOT / "requirements.lock").read_text()


# Licences under which the package may be installed beside the rest of it, and redistributed unchanged.
ALLOWED = {
    "0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "HPND", "ISC", "MIT",
    "MIT-0", "MPL-2.0", "PSF-2.0", "Unlicense", "ZPL-2.1", "Zlib", "LLVM-exception",
}  # fmt: skip


def test_every_locked_package_has_a_licence_that_is_allowed():
    rows = dict(re.findall(r"^\| ([a-z0-9][a-z0-9-]+) \| (.+) \|$", (ROOT / "docs" / "licences.md").read_text(), re.M))
    rows.pop("package")
    assert set(rows) == set(locked()) | set(constraints()), "run 'make licences'"
    for name, licence in rows.items():
        parts = set(re.split(r" AND | OR | WITH ", licence.replace("(", "").replace(")", "")))
        assert parts <= ALLOWED, (name, licence)
