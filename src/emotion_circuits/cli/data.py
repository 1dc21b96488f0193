"""``emotion-circuits data``: check a corpus or an attribute, describe corpora."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from emotion_circuits.cli.completing import attributes, offering
from emotion_circuits.cli.shared import Columns, JsonFlag, long_running, mapped, note, print_table, show_json

if TYPE_CHECKING:
    from emotion_circuits.curation import Accuracy, Finding, SetDescription
    from emotion_circuits.evaluation import Validation
    from emotion_circuits.prompts import Prompt
    from emotion_circuits.prompts.tokenizing import Tokenize

app = typer.Typer(help="Corpora and attributes: check your own, describe the bundled sets or your own.")

EMBEDDING_BARS = {"implicit": 0.80}


@app.command()
def check(
    files: Annotated[
        list[str], typer.Argument(help="CSV, TSV, JSONL, JSON, Parquet or Excel files, or bundled names.")
    ],
    columns: Columns = None,
    language: Annotated[str, typer.Option(help="Language of a file without a language column.")] = "en",
    tokenizer: Annotated[
        list[str] | None,
        typer.Option(help="Bundled model, folder or tokenizer.json under which pairs must be aligned; repeat."),
    ] = None,
    implicit: Annotated[
        bool | None,
        typer.Option("--implicit/--explicit", help="Forbid emotion words or not; by default in sets named implicit."),
    ] = None,
    near: Annotated[float, typer.Option(min=0.3, max=1.0, help="Similarity of near duplicates (Jaccard).")] = 0.65,
    write: Annotated[Path | None, typer.Option(help="Write the rows as JSONL here, if there is no error.")] = None,
    every: Annotated[bool, typer.Option("--all", help="List every finding, not one line a kind.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check corpora, alone and against one another; findings are shown by kind.

    Exits with 1 when there is an error.

    Example: emotion-circuits data check letters.csv --map text=sentence --map label=emotion
    """
    from emotion_circuits.curation import check_corpora, write_corpus
    from emotion_circuits.prompts.loading import parse_column_map

    with long_running():
        report, rows = check_corpora(
            files,
            columns=parse_column_map(columns or []),
            language=language,
            implicit=implicit,
            tokenizers={name: _tokenizer(name) for name in tokenizer or []},
            near=near,
        )
    written = write is not None and not report.errors
    if write is not None and written:
        write_corpus(write, rows)
    if as_json:
        show_json({**report.model_dump(mode="json"), "written": str(write) if written else None})
    else:
        for line in _listed(report.findings) if every else _grouped(report.findings):
            typer.echo(line)
        for file in report.files:
            surface = "".join(f", {a.name} {a.accuracy:.3f}" for a in (file.balance.surface if file.balance else ()))
            labels = ", ".join(f"{label} {count}" for label, count in file.labels.items())
            typer.echo(f"{file.file}: {file.rows} rows, {file.groups} groups ({labels}){surface}")
        typer.echo(f"{len(report.errors)} errors, {len(report.warnings)} warnings")
        if write is not None:
            typer.echo(
                f"wrote {len(rows)} rows to {write}" if written else f"{write} not written: mend the errors first"
            )
    if report.errors:
        raise typer.Exit(1)


def _listed(findings: Sequence[Finding]) -> list[str]:
    return [f"{finding.severity}: {finding}" for finding in findings]


def _grouped(findings: Sequence[Finding]) -> list[str]:
    """One line a kind: how many, the first one, and where the next ones are."""
    kinds: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        kinds.setdefault((finding.severity, finding.kind, finding.field), []).append(finding)
    lines = []
    for (severity, kind, field), found in kinds.items():
        if len(found) == 1:
            lines += _listed(found)
            continue
        places = [f.file if f.line is None else f"{f.file}:{f.line}" for f in found[1:4]]
        rest = f" and {len(found) - 4} more (--all)" if len(found) > 4 else ""
        what = f"{kind} ({field})" if field else kind
        lines.append(f"{severity}: {len(found)} × {what}: {found[0]}; also {', '.join(places)}{rest}")
    return lines


@app.command()
def describe(
    sets: Annotated[
        list[str] | None, typer.Argument(help="Bundled names or files of your own; default: all bundled.")
    ] = None,
    columns: Columns = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Bundled model, folder or tokenizer.json to count lengths in; default: words.")
    ] = None,
    embedding: Annotated[
        bool, typer.Option("--embedding", help="Also score the sentence-embedding classifier.")
    ] = False,
    write_card: Annotated[
        Path | None, typer.Option(help="Fill the figures of this data card (all bundled sets, with the embedding).")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Describe sets: counts, lengths, telling n-grams, and what words, punctuation or length alone give away.

    Example: emotion-circuits data describe core implicit
    """
    from emotion_circuits.curation import agreement_of_set, card_sections, describe_corpora, labelled_twice
    from emotion_circuits.curation import write_card as fill
    from emotion_circuits.errors import EmotionCircuitsError
    from emotion_circuits.prompts import available_sets

    if write_card is not None and sets:
        raise EmotionCircuitsError("--write-card describes all bundled sets; leave the names out")
    with long_running():
        tokenize = _tokenizer(tokenizer) if tokenizer else None
        wanted = mapped(sets or available_sets(), columns)
        description = describe_corpora(wanted, tokenize=tokenize, tokenizer_name=tokenizer or "")
        scored = _embedding_accuracies() if embedding or write_card is not None else ()
        words = _word_accuracies() if write_card is not None else ()
        judged = _judge_validations() if write_card is not None else ()
    if write_card is not None:
        agreed = {name: agreement_of_set(name) for name in labelled_twice()}
        fill(write_card, card_sections(description, scored, words, judged, agreed))
        note(f"wrote the figures of {len(description.sets)} sets into {write_card}")
    if as_json:
        show_json({**description.model_dump(mode="json"), "embedding": [a.model_dump(mode="json") for a in scored]})
    elif write_card is None:
        for item in description.sets:
            _show(item)
        if scored:
            _show_accuracies("sentence-embedding classifier, test splits", scored)


@app.command("attribute")
def check_an_attribute(
    name: Annotated[str, typer.Argument(help="YAML file, or bundled name.", autocompletion=offering(attributes))],
    as_json: JsonFlag = False,
) -> None:
    """Check an attribute: its file, its texts, its words and whether its judges know its values; all problems are listed.

    Exits with 1 when there is any.

    Example: emotion-circuits data attribute emotion-en
    """
    from emotion_circuits.evaluation import check_attribute
    from emotion_circuits.prompts import load_attribute

    found = load_attribute(name)
    with long_running():
        problems = check_attribute(found)
    if as_json:
        show_json({"attribute": found.model_dump(mode="json"), "problems": problems})
    else:
        for problem in problems:
            typer.echo(f"error: {problem}")
        typer.echo(
            f"{found.name}: {', '.join(found.values)} against {found.reference or 'the mean of the others'}; "
            f"judged by {', '.join(found.judges) or 'nobody'}; {len(problems)} problems"
        )
    if problems:
        raise typer.Exit(1)


def _tokenizer(name: str) -> Tokenize:
    from emotion_circuits.errors import EmotionCircuitsError
    from emotion_circuits.model import BUNDLED, installed
    from emotion_circuits.prompts.tokenizing import load_tokenizer

    if name not in BUNDLED:
        return load_tokenizer(name)
    folder = installed(name)
    if folder is None:
        raise EmotionCircuitsError(f"{name} is not installed; run 'emotion-circuits models install {name}'")
    return load_tokenizer(folder)


def _word_accuracies() -> tuple[Accuracy, ...]:
    from emotion_circuits.curation import across_sets
    from emotion_circuits.prompts import available_sets, load_attribute, load_prompts
    from emotion_circuits.prompts.attribute import DEFAULT_ATTRIBUTE

    attribute = load_attribute(DEFAULT_ATTRIBUTE)
    fitted = [name for name in attribute.corpora.fit if load_prompts(name, split="train")]
    held = {name: load_prompts(name, split="test") for name in available_sets() if name != attribute.pairs}
    scored = [
        name
        for name, rows in held.items()
        if {row.language for row in rows} == {attribute.language} and set(attribute.labels) <= {r.label for r in rows}
    ]
    return across_sets(fitted, scored, attribute.labels)


def _embedding_accuracies() -> tuple[Accuracy, ...]:
    """How legible the corpora that directions are fitted on are to a sentence-embedding classifier of their own."""
    from emotion_circuits.evaluation import AttributeClassifier, validate
    from emotion_circuits.prompts import load_attribute, load_prompts
    from emotion_circuits.prompts.attribute import DEFAULT_ATTRIBUTE

    attribute = load_attribute(DEFAULT_ATTRIBUTE)
    fitted = [name for name in attribute.corpora.fit if load_prompts(name, split="train")]
    own = AttributeClassifier(attribute, forced=True, prompts=load_prompts(fitted, labels=attribute.labels))
    tests = {name: load_prompts(name, split="test", labels=attribute.labels) for name in attribute.corpora.fit}
    return tuple(
        _as_accuracy(validate(own, rows, data=name, split="test"), f"`{name}` (test)", rows)
        for name, rows in tests.items()
    )


def _judge_validations() -> tuple[tuple[Validation, int], ...]:
    """Every judge of the attribute's axis on every labelled set, with the number of groups."""
    from emotion_circuits.evaluation import judges_of, validate_on_bundled
    from emotion_circuits.prompts import load_attribute, load_prompts
    from emotion_circuits.prompts.attribute import DEFAULT_ATTRIBUTE

    attribute = load_attribute(DEFAULT_ATTRIBUTE)
    return tuple(
        (v, len({row.group for row in load_prompts(v.data, split=v.split) if row.label in attribute.labels}))
        for judge in judges_of(attribute)
        if judge.axis == attribute.axis
        for v in validate_on_bundled(judge, attribute)
    )


def _as_accuracy(v: Validation, name: str, rows: Sequence[Prompt]) -> Accuracy:
    from emotion_circuits.curation import Accuracy

    return Accuracy(
        name=name,
        accuracy=v.accuracy,
        interval=v.interval,
        chance=v.majority,
        rows=v.n,
        groups=len({row.group for row in rows}),
        bar=EMBEDDING_BARS.get(v.data),
    )


def _show(item: SetDescription) -> None:
    labels = ", ".join(f"{label} {count}" for label, count in item.labels.items())
    splits = ", ".join(f"{split} {count}" for split, count in item.splits.items())
    typer.echo(f"\n{item.name} ({', '.join(item.languages)}): {item.rows} rows, {item.groups} groups")
    typer.echo(f"  labels: {labels}\n  splits: {splits}")
    for label, length in item.lengths.items():
        typer.echo(f"  {label}: {length.mean:.2f} {item.unit} ({length.shortest}–{length.longest})")
    for label, grams in item.telling.items():
        typer.echo(f"  typical of {label}: " + (", ".join(f"{gram} {z:.1f}" for gram, z in grams) or "nothing"))
    if item.accuracies:
        _show_accuracies(f"{item.name}: what the surface gives away", item.accuracies)


def _show_accuracies(title: str, accuracies: tuple[Accuracy, ...]) -> None:
    table = Table("reads", "accuracy", "95 % interval", "chance", "bar", "rows / groups", title=title)
    for a in accuracies:
        bar = "" if a.bar is None else f"{a.bar:.2f}"
        interval = "{:.3f}–{:.3f}".format(*a.interval)
        table.add_row(a.name, f"{a.accuracy:.3f}", interval, f"{a.chance:.3f}", bar, f"{a.rows} / {a.groups}")
    print_table(table)
