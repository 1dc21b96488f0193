"""Keep calibrations: join their figures in ``docs/calibration.json`` and write the README's table of them.

Run: ``python docs/calibrated.py CALIBRATION_FOLDER ... [--planted FILE]``, where folders are those of ``emotion-circuits
calibrate`` and the file is what ``emotion-circuits bench planted --json`` printed. Without either
the table alone is written anew.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KEPT, README = HERE / "calibration.json", HERE.parent / "README.md"
BEGIN, END = "<!-- calibration -->\n", "<!-- end of calibration -->"


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


def table(found: dict[str, Any]) -> str:
    """The README's table."""
    lines = ["| kind of claim | false claims | 95 % interval | planted effects found |", "| --- | --- | --- | --- |"]
    for kind in sorted({**found["false_claims"], **found["power"]}):
        false, power = found["false_claims"].get(kind), found["power"].get(kind)
        lines.append(f"| `{kind}` | {_share(false)} | {_interval(false)} | {_share(power)}{_interval(power, ' ')} |")
    for record in found.get("planted", {}).get("generators", []):
        others, power = record["other_heads"], record["power"]
        lines.append(
            f"| heads of planted circuits, `{record['name']}` | {_share(others)} | {_interval(others)} | "
            f"{_share(power)}{_interval(power, ' ')} |"
        )
    return "\n".join(lines) + "\n"


def _share(rate: dict[str, Any] | None) -> str:
    return "" if rate is None else f"{rate['hits']:.0f} of {rate['n']:.0f} = {100 * rate['rate']:.1f} %"


def _interval(rate: dict[str, Any] | None, before: str = "") -> str:
    return "" if rate is None else f"{before}[{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--planted", type=Path)
    asked = parser.parse_args()
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
    found = joined(asked.folders, asked.planted, kept)
    KEPT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    README.write_text(head + BEGIN + table(found) + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
