"""What a second worker gains, and what Ray costs over worker processes.

python benchmarks/bench_survey.py [--attributes formality humor …] [--model smollm2-135m]

The same survey of short studies is run three times into new folders, with one thread a worker: in one worker process, in two,
and by two actors of Ray. Times are of the wall clock, as a second worker saves nothing else, so nothing may run beside it; what
does is measured before and said. Ratios are of one run, and artefacts must come out the same.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from emotion_circuits.record.engines import engine
from emotion_circuits.survey import load_survey, run_survey

LEFT_OUT = ("trace", "steering", "circuits")
ARMS = {"one process": ("processes", 1), "two processes": ("processes", 2), "two actors of Ray": ("ray", 2)}


def busy(seconds: float = 1.0) -> float:
    """Share of all cores' time that something else takes just now."""

    def read() -> tuple[float, float]:
        values = [float(v) for v in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(values), values[3] + values[4]

    before = read()
    time.sleep(seconds)
    after = read()
    return 1 - (after[1] - before[1]) / max(after[0] - before[0], 1e-9)


def survey(folder: Path, model: str, attributes: list[str], how: tuple[str, int]) -> float:
    """Seconds of the whole survey, workers started and ended."""
    config = load_survey(
        "attributes",
        {
            "models": (model,), "attributes": tuple(attributes), "settings": {"leave_out": list(LEFT_OUT)},
            "gather": {"transfer": {"draws": 99}},
        },
    )  # fmt: skip
    begun = time.perf_counter()
    workers = engine(how[0], workers=how[1])
    try:
        result = run_survey(config, folder, engine=workers)
    finally:
        workers.close()
    if result.failed:
        raise SystemExit(f"{result.failed[0].name}: {result.failed[0].why}")
    return time.perf_counter() - begun


def sums(folder: Path) -> dict[str, Any]:
    """Sums of every station's files."""
    notes = sorted(folder.glob("runs/*/*/stage.json"))
    return {str(n.relative_to(folder)): json.loads(n.read_text(encoding="utf-8"))["files"] for n in notes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--attributes", nargs="+", default=["formality", "humor", "threat", "persona"])
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp())
    try:
        others = busy()
        seconds, artefacts = {}, {}
        for name, how in ARMS.items():
            folder = root / name.replace(" ", "-")
            seconds[name] = survey(folder, options.model, options.attributes, how)
            artefacts[name] = sums(folder)
        first = artefacts["one process"]
        found = {
            "seconds": seconds,
            "busy before": others,
            "same artefacts": all(other == first for other in artefacts.values()),
            "two over one": seconds["one process"] / seconds["two processes"],
            "ray over processes": seconds["two actors of Ray"] / seconds["two processes"],
        }
        if not found["same artefacts"]:
            raise SystemExit("artefacts differ between engines")
        print(json.dumps(found, indent=2))
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
