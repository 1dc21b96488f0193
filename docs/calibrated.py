"""Keep calibrations: join their figures in ``docs/calibration.json`` and write the READMEs' tables of them.

Run: ``python docs/calibrated.py CALIBRATION_FOLDER ... [--planted FILE]``, where folders are those of ``emotion-circuits
calibrate`` and the file is what ``emotion-circuits bench planted --json`` printed. Without either
the table alone is written anew.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
KEPT = HERE / "calibration.json"
BEGIN, END = "<!-- calibration -->\n", "<!-- end of calibration -->"


class Words(NamedTuple):
    """What a table says in a language: its head, what planted circuits are called, and a share of claims and of heads."""

    head: str
    planted: str
    claims: str = "{hits:.0f} of {n:.0f}"
    heads: str = "{hits:.0f} of {n:.0f}"


ENGLISH = Words(
    "| kind of claim | false claims | 95 % interval | planted effects found |", "heads of planted circuits, "
)
JAPANESE = Words(
    "| 主張の種類 | 偽の主張 | 95 % 区間 | 見つかった植込みの効果 |",
    "植込み回路のヘッド、",
    "{n:.0f} 件中 {hits:.0f} 件",
    "{n:.0f} 個中 {hits:.0f} 個",
)
READMES = {"README.md": ENGLISH, "README.ja.md": JAPANESE}


def joined(folders: list[Path], planted: Path | None, kept: dict[str, Any]) -> dict[str, Any]:
    """Figures of several calibrations by kind, each with the manifest that made it; later ones replace earlier ones."""
    found: dict[str, Any] = {"false_claims": {}, "power": {}, "coverage": {}, "manifests": [], **kept}
    for folder in folders:
        own = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
        for part in ("false_claims", "power", "coverage"):
            found[part] |= own[part]
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        # Where it lay on some machine is of no use to anyone.
        manifest = {key: value for key, value in manifest.items() if key not in ("run", "command")}
        others = [m for m in found["manifests"] if set(m["stations"]) != set(manifest["stations"])]
        found["manifests"] = [*others, manifest]
    if planted is not None:
        bench = json.loads(planted.read_text(encoding="utf-8"))
        found["planted"] = {key: bench[key] for key in ("generators", "false_claims", "bars", "settings")}
    return found


def table(found: dict[str, Any], words: Words = ENGLISH) -> str:
    """A README's table."""
    lines = [words.head, "| --- | --- | --- | --- |"]
    for kind in sorted({**found["false_claims"], **found["power"]}):
        false, power = found["false_claims"].get(kind), found["power"].get(kind)
        counted = (
            f"{_share(false, words.claims)} | {_interval(false)} | {_share(power, words.claims)}{_interval(power, ' ')}"
        )
        lines.append(f"| `{kind}` | {counted} |")
    for record in found.get("planted", {}).get("generators", []):
        others, power = record["other_heads"], record["power"]
        lines.append(
            f"| {words.planted}`{record['name']}` | {_share(others, words.claims)} | {_interval(others)} | "
            f"{_share(power, words.heads)}{_interval(power, ' ')} |"
        )
    return "\n".join(lines) + "\n"


def _share(rate: dict[str, Any] | None, of: str) -> str:
    return "" if rate is None else f"{of.format(**rate)} = {100 * rate['rate']:.1f} %"


def _interval(rate: dict[str, Any] | None, before: str = "") -> str:
    return "" if rate is None else f"{before}[{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"


def main() -> None:
    """Write the file and the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--planted", type=Path)
    asked = parser.parse_args()
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
    found = joined(asked.folders, asked.planted, kept)
    KEPT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, words in READMES.items():
        readme = HERE.parent / name
        head, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
        readme.write_text(head + BEGIN + table(found, words) + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
