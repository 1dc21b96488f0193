"""Pages that are written at build time: command line, settings, API, findings, the notebook.

What is generated cannot go stale: commands and options come from the command tree, settings from the configuration's
classes, the API from the packages' public names, the findings from the README, the tutorial notebook from its own cells.
"""

from __future__ import annotations

import inspect
import json
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from html import escape
from importlib import import_module
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

__all__ = [
    "API", "api_page", "cli_page", "findings_page", "notebook_page", "on_files", "pages", "settings_page", "tables_page",
    "write_plain",
]  # fmt: skip

HERE = Path(__file__).parent


def pages() -> dict[str, str]:
    """What is generated: Markdown by its place in the site."""
    found = {
        "reference/cli.md": cli_page(),
        "reference/settings.md": settings_page(),
        "reference/tables.md": tables_page(),
        "findings.md": findings_page(HERE.parent / "README.md"),
        "notebook.md": notebook_page(HERE / "tutorial.ipynb"),
    }
    return found | {f"reference/api/{name}.md": api_page(name) for name in API}


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages; the notebook itself stays a file that can be downloaded."""
    for name, content in pages().items():
        files.append(File.generated(config, name, content=content))
    return files


def write_plain(folder: Path) -> None:
    """The whole site as files that a builder without hooks reads: pages, ``mkdocs.yml``, and a link to the code.

    Args:
        folder: what it holds is written over.
    """
    shutil.copytree(HERE, folder / "docs", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    shutil.copy(HERE / "griffe_roles.py", folder / "docs")
    for name, content in pages().items():
        place = folder / "docs" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content, encoding="utf-8")
    lines = (HERE.parent / "mkdocs.yml").read_text(encoding="utf-8").splitlines()
    left = [line for line in lines if line != "strict: true" and line not in ("hooks:", "  - docs/hooks.py")]
    (folder / "mkdocs.yml").write_text("\n".join(left) + "\n", encoding="utf-8")
    link = folder / "src"
    link.unlink(missing_ok=True)
    link.symlink_to(HERE.parent / "src")


# -- command line --------------------------------------------------------------------------------------------------


def command_tree() -> Iterator[tuple[tuple[str, ...], Any]]:
    """``(path, command)`` of the program and every command below it, parents first."""
    from typer.main import get_command

    from emotion_circuits.cli.app import app

    def walk(path: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
        yield path, command
        for name, child in getattr(command, "commands", {}).items():
            if not child.hidden:
                yield from walk((*path, name), child)

    return walk(("emotion-circuits",), get_command(app))


def cli_page() -> str:
    """Every command with its arguments and options."""
    lines = ["# Command line", "", "Options before the command, as in `emotion-circuits --quiet run`:", ""]
    for path, command in command_tree():
        if len(path) == 1:
            lines += [*_options(command), "", "## Exit codes", "", *_exit_codes()]
            continue
        lines += ["", f"{'#' * len(path)} `{' '.join(path)}`", ""]
        usage = []
        if not hasattr(command, "commands"):
            arguments = " ".join(_metavar(p) for p in command.params if p.param_type_name == "argument")
            usage = ["```", " ".join(filter(None, [*path, arguments, "[OPTIONS]"])), "```", ""]
        lines += [*usage, _prose(command.help or ""), "", *([] if not usage else _options(command))]
    return "\n".join(lines) + "\n"


def _metavar(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _exit_codes() -> list[str]:
    """From the table of codes where the program has one, else from the sentence ``Exit codes: 0 done; 1 …``."""
    import emotion_circuits.cli

    if find_spec("emotion_circuits.cli.exit_codes") is not None:
        codes = import_module("emotion_circuits.cli.exit_codes").EXIT_CODES
        return [f"- `{code}`: {meaning}" for code, meaning in codes.items()]
    text = emotion_circuits.cli.__doc__ or ""
    entries = " ".join(text.partition("Exit codes: ")[2].split()).rstrip(".").split("; ")
    return [f"- `{number}`: {meaning}" for number, _, meaning in (entry.partition(" ") for entry in entries)]


def _prose(text: str) -> str:
    """Help as Markdown: a paragraph ``Example: …`` becomes a block of code."""
    parts = []
    for paragraph in text.strip().split("\n\n"):
        head, example, command = paragraph.partition("Example: ")
        if example and not head.strip():
            parts.append(f"Example:\n\n```\n{' '.join(command.split())}\n```")
        else:
            parts.append(paragraph.replace("<", "&lt;"))
    return "\n\n".join(parts)


def _options(command: Any) -> list[str]:
    rows = ["| argument or option | default | meaning |", "| --- | --- | --- |"]
    for p in command.params:
        if p.name == "help" or getattr(p, "hidden", False):
            continue
        names = [_metavar(p)] if p.param_type_name == "argument" else [*p.opts, *p.secondary_opts]
        name = " ".join(f"`{n}`" for n in names)
        value = "required" if p.required else _default(p.default)
        meaning = " ".join((p.help or "").split()).replace("|", "\\|").replace("<", "&lt;")
        rows.append(f"| {name} | {value} | {meaning} |")
    return rows if len(rows) > 2 else []


def _default(value: Any) -> str:
    if value is None or value is False or callable(value):  # a flag's False says nothing
        return ""
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    return f"`{value}`" if str(value) else ""


# -- settings ------------------------------------------------------------------------------------------------------


def settings_page() -> str:
    """Every field of a study's configuration, its default and what the profiles change."""
    from emotion_circuits.study.config import PROFILES, StudyConfig

    lines = [
        "# Profiles and settings",
        "",
        "A study's configuration is the defaults below, changed by a profile (`--profile`), changed by a YAML file "
        "(`--config`), changed by single values (`--set steering.samples=2`). Unknown keys are errors. The whole "
        "configuration of a run is in its `study.json`, which `--config` reads again.",
        "",
        f"Profiles: {', '.join(f'`{name}`' for name in PROFILES)}. An empty cell means the default.",
    ]
    lines += _section("", StudyConfig, {})
    for name, field in StudyConfig.model_fields.items():
        if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
            lines += _section(name, field.annotation, PROFILES)
    return "\n".join(lines) + "\n"


def tables_page() -> str:
    """Every declared table of every station."""
    from emotion_circuits.stations.registry import stations

    lines = [
        "# Tables",
        "",
        "What the Parquet files of a run hold. A name in braces stands for one column per such thing.",
    ]
    for station in stations():
        tables = station.folder.tables()
        if tables:
            lines += ["", f"## `{station.name}/`"]
        for table in tables.values():
            lines += ["", f"### `{table.name}.parquet`", "", table.meaning, "", "| column | type | unit | meaning |"]
            lines += ["| --- | --- | --- | --- |"]
            for c in table.columns:
                lines.append(
                    f"| `{c.name}` | {c.type} | {c.unit} | {c.meaning}{' (not always there)' if c.optional else ''} |"
                )
    return "\n".join(lines) + "\n"


def _section(name: str, section: Any, profiles: dict[str, dict[str, Any]]) -> list[str]:
    changed = {p: values.get(name, {}) for p, values in profiles.items() if values.get(name)}
    heads = ["setting", "default", *changed, "meaning"]
    title = f"`{name}`" if name else "The study"
    summary = (inspect.getdoc(section) or "").split("\n")[0]
    lines = ["", f"## {title}", "", summary, "", f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    meanings = _attributes(section)
    for field, info in section.model_fields.items():
        if isinstance(info.annotation, type) and hasattr(info.annotation, "model_fields"):
            continue
        cells = [f"`{name}.{field}`" if name else f"`{field}`", _value(info.default)]
        cells += [_value(values[field]) if field in values else "" for values in changed.values()]
        lines.append(f"| {' | '.join([*cells, meanings.get(field, '')])} |")
    return lines


def _value(value: Any) -> str:
    return f"`{json.dumps(value)}`"


def _attributes(section: Any) -> dict[str, str]:
    """Field → its sentence in the class's docstring."""
    found: dict[str, str] = {}
    name = ""
    for line in (inspect.getdoc(section) or "").split("Attributes:")[-1].splitlines():
        start = re.match(r" {4}(\w+): (.*)", line)
        if start:
            name = start[1]
            found[name] = start[2]
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return {k: re.sub(r":\w+:`~?([^`]+)`", r"`\1`", v).replace("``", "`").replace("|", "\\|") for k, v in found.items()}


# -- API -----------------------------------------------------------------------------------------------------------

API = (
    "prompts", "curation", "model", "statistics", "activations", "directions", "evaluation", "steering", "exchange", "heads",
    "circuits", "planted", "study", "survey",
)  # fmt: skip

_FURTHER = {
    "steering": """## `REGIMES`

The rule of each regime: `collapsed`, `repetitive`, `no effect`, `costly`, `clean`. See
[Steering](../../stations/steering.md#regimes).
""",
    "circuits": """## What a circuit's file holds

::: emotion_circuits.circuits.circuit
    options:
      members: [CircuitNode, CircuitEdge, PairCounts, CurvePoint, Area, Agreement, HeadEvidence]

## Drawings

::: emotion_circuits.circuits.drawing
""",
    "planted": """## What calibration finds

::: emotion_circuits.planted.records
    options:
      members:
        - DirectionRecord
        - ResponseRecord
        - PublishedAuroc
        - CalibrationSettings
        - upper_bound
""",
    "study": """## Stations

::: emotion_circuits.stations.registry

::: emotion_circuits.record.station

::: emotion_circuits.record.folder

::: emotion_circuits.record.tables

See [Add a station](../../howto/station.md).

## Running stations

::: emotion_circuits.record.running

::: emotion_circuits.study.over_runs

## Tracking

::: emotion_circuits.study.tracking
""",
}


def api_page(package: str) -> str:
    """Every public name of a package; where a function is called like the module it stands in, that one too."""
    path = f"emotion_circuits.{package}"
    parts = [f"# `{path}`", f"::: {path}"]
    for name in import_module(path).__all__:
        if find_spec(f"{path}.{name}") is not None:
            parts += [f"## `{name}`", f"::: {path}.{name}.{name}"]
    return "\n\n".join([*parts, _FURTHER.get(package, "")])


# -- findings ------------------------------------------------------------------------------------------------------


def findings_page(readme: Path) -> str:
    """The README's sections on what is found, with their links turned towards the site's pages."""
    sections = re.findall(
        r"^## (What it finds[^\n]*)\n(.*?)(?=^## |\Z)", readme.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    if not sections:
        raise ValueError(f"{readme}: has no section 'What it finds …'")
    text = "\n".join(f"{'##' if n else '#'} {title}\n{told}" for n, (title, told) in enumerate(sections))
    return re.sub(r"`docs/([\w/.-]+\.md)`", r"[\1](\1)", text).replace("](docs/", "](")


# -- notebook ------------------------------------------------------------------------------------------------------


def notebook_page(path: Path) -> str:
    """A notebook as Markdown: text, code, and what the code showed: printed text, tables as text, figures, cards."""
    book = json.loads(path.read_text(encoding="utf-8"))
    parts = []
    for cell in book["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code":
            parts.append(f"```python\n{source}\n```")
            parts += _outputs(cell.get("outputs", ()))
    title, _, rest = "\n\n".join(parts).partition("\n")
    return f"{title}\n\n[Download this notebook]({path.name}).\n{rest}\n"


def _outputs(outputs: Iterable[dict[str, Any]]) -> Iterator[str]:
    """What follows one another as text is one block; what is more than text stands between such blocks."""
    for is_text, group in groupby(outputs, key=lambda output: _rich(output) is None):
        if not is_text:
            yield from (str(_rich(output)) for output in group)
            continue
        shown = "".join(map(_shown, group))
        if shown.strip():
            yield f"```{{.text .no-copy}}\n{shown.rstrip()}\n```"


def _rich(output: dict[str, Any]) -> str | None:
    """A figure or the card of an object; none for what is text, data frames too, whose text is as wide as their table."""
    data = output.get("data", {})
    if "image/png" in data:
        looks = output["metadata"]["image/png"]
        source = "".join("".join(data["image/png"]).split())
        return (
            f'<figure class="shown"><img alt="{escape(looks["alt"])}" width="{looks["width"]}" '
            f'src="data:image/png;base64,{source}"></figure>'
        )
    html = "".join(data.get("text/html", ""))
    if not html or 'class="dataframe"' in html:
        return None
    return f'<div class="shown">{html}</div>'


def _shown(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream" and output["name"] == "stdout":
        return "".join(output["text"])
    if output["output_type"] in ("execute_result", "display_data"):
        return "".join(output["data"].get("text/plain", "")) + "\n"
    return ""


if __name__ == "__main__":
    write_plain(Path(sys.argv[1]))
