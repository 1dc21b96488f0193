"""``emotion-circuits read``: score any texts with the directions of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from emotion_circuits.cli.shared import Columns, Device, Dtype, JsonFlag, long_running, print_table, show_json
from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["read", "read_lines"]


def read(
    file: Annotated[
        Path,
        typer.Argument(
            help="Text file (.txt, one text a line), or a table (CSV, TSV, JSONL, JSON, Parquet, Excel) with a column 'text' "
            "and maybe 'label'."
        ),
    ],
    run: Annotated[Path, typer.Option(help="Folder of a finished run.")],
    columns: Columns = None,
    device: Device = None,
    dtype: Dtype = None,
    as_json: JsonFlag = False,
) -> None:
    """Say which emotion each text shows to the model, by the directions a run has fitted and validated.

    Where the file has labels, the accuracy is shown beside that of words alone: the better of the tuned baselines.

    Example: emotion-circuits read --run runs/demo letters.txt
    """
    from emotion_circuits.prompts.loading import parse_column_map

    lines = read_lines(file, parse_column_map(columns or ()))
    with long_running():
        result = _result(lines, run, device, dtype)
    if as_json:
        show_json(result)
        return
    table = Table("line", "label", "read as", "scores", "text")
    for row in result["rows"]:
        scores = "  ".join(f"{k} {v:+.2f}" for k, v in row["scores"].items())
        if row["prediction"] is None:
            scores = "a single token: nothing to average"
        text = row["text"] if len(row["text"]) <= 70 else row["text"][:69] + "…"
        table.add_row(str(row["line"]), row.get("label") or "", row["prediction"] or "", scores, text)
    print_table(table)
    if result["accuracy"] is not None:
        typer.echo(
            f"accuracy {result['accuracy']:.3f} on {result['n_labelled']} labelled texts; "
            f"words alone ({result['words_by']}): {result['words_accuracy']:.3f}"
        )


def read_lines(file: Path, columns: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """``{"line", "text", "label"}`` of every line or row that holds a text; blank ones are left out.

    Args:
        file: a table, or a text file of another name.
        columns: ``text`` and ``label`` → their columns in a table.

    Raises:
        EmotionCircuitsError: not readable, not UTF-8, a row without a text, or nothing in it; a table of a kind that is not read.
    """
    from emotion_circuits.prompts.tables import TABLE_SUFFIXES

    if file.suffix.lower() not in TABLE_SUFFIXES:
        if columns:
            raise EmotionCircuitsError(f"{file}: has no columns for --map; a table ends in {', '.join(TABLE_SUFFIXES)}")
        rows = _lines_of(file)
    else:
        rows = _rows_of(file, columns or {})
    if not rows:
        raise EmotionCircuitsError(f"{file}: holds no text")
    return rows


def _lines_of(file: Path) -> list[dict[str, Any]]:
    from emotion_circuits.documents import UnreadableError, bytes_of, decoded
    from emotion_circuits.prompts.tables import LONGEST_LINE, TABLE_SUFFIXES

    content = bytes_of(file)
    try:
        text = decoded(content)
    except UnreadableError as error:
        raise EmotionCircuitsError(f"{file}:{error.line}: {error.message}") from error
    if "\0" in text or content.startswith((b"PK", b"%PDF")):
        raise EmotionCircuitsError(
            f"{file}: is no text; save it as .txt (one text a line) or a table ({', '.join(TABLE_SUFFIXES)})"
        )
    found = []
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        if len(line) > LONGEST_LINE:
            raise EmotionCircuitsError(
                f"{file}:{number}: has {len(line):,} characters; a text may have {LONGEST_LINE:,}"
            )
        if line.strip():
            found.append({"line": number, "text": line.strip(), "label": None})
    return found


def _rows_of(file: Path, columns: Mapping[str, str]) -> list[dict[str, Any]]:
    from emotion_circuits.prompts.layouts import laid_out, unnamed
    from emotion_circuits.prompts.tables import no_column, read_table

    table = read_table(file, unnamed=unnamed(columns))
    if table.problems:
        raise EmotionCircuitsError(table.problems[0].at(file))
    table, columns = laid_out(table, columns, file)
    position = table.positions(file, {"text": "text", "label": "label", **columns})
    if table.rows and "text" not in position:
        raise EmotionCircuitsError(f"{file}:1: {no_column('text', file)}. Columns: {', '.join(table.columns)}")
    found = []
    for line, cells in table.rows:
        text = cells.get(position["text"])
        if not isinstance(text, str) or not text.strip():
            raise EmotionCircuitsError(f"{file}:{line}: text: needs a text that is not empty")
        label = cells.get(position.get("label", ""))
        if isinstance(label, int) and not isinstance(label, bool):
            label = str(label)
        if label is not None and not isinstance(label, str):
            raise EmotionCircuitsError(f"{file}:{line}: label: must be a string, got {label!r}")
        found.append({"line": line, "text": text, "label": (label or "").strip() or None})
    return found


def _result(lines: list[dict[str, Any]], run: Path, device: str | None, dtype: str | None) -> dict[str, Any]:
    from emotion_circuits.directions import Reader, static_embeddings, word_readers
    from emotion_circuits.model import load_model
    from emotion_circuits.prompts import load_prompts
    from emotion_circuits.prompts.schema import corpus_of
    from emotion_circuits.record.reading import read_finished
    from emotion_circuits.record.studied import studied_in

    manifest = read_finished(run)
    config = manifest["config"]
    model = load_model(
        config["model"],
        device=device,
        dtype=dtype or config.get("dtype"),
        revision=config.get("revision"),
        prefix=config.get("prefix", "none"),
    )
    reader = Reader.load(model, run / "directions")
    texts = [row["text"] for row in lines]
    table = reader.read(texts)
    labels = reader.labels
    unknown = sorted({row["label"] for row in lines if row["label"] is not None} - set(labels))
    if unknown:
        raise EmotionCircuitsError(
            f"label {unknown[0]!r} is none of the run's: {', '.join(labels)}; rename it, or leave the label out"
        )
    fit = studied_in(manifest).fit
    train, held = ([p for p in load_prompts(fit, split=s) if p.label in labels] for s in ("train", "validation"))
    # A text that has no state to read counts neither for nor against, as on the study's own sentences.
    labelled = [i for i, row in enumerate(lines) if row["label"] is not None and table["label"].iloc[i] is not None]
    accuracy = words = words_by = None
    if labelled:
        right = [table["label"].iloc[i] == lines[i]["label"] for i in labelled]
        accuracy = sum(right) / len(right)
        tuned = word_readers(
            [p.text for p in train], [p.label for p in train], [p.text for p in held], [p.label for p in held],
            held_corpora=[corpus_of(p.set) for p in held], embed=lambda some: static_embeddings(model, some),
        )  # fmt: skip
        of = [texts[i] for i in labelled]
        shares = {t.name: sum(g == lines[i]["label"] for g, i in zip(t.read(of), labelled, strict=True)) for t in tuned}
        words_by = max(shares, key=lambda name: shares[name])
        words = shares[words_by] / len(labelled)
    rows = []
    for i, line in enumerate(lines):
        scores = {label: float(table[f"score_{label}"].iloc[i]) for label in reader.emotions}
        rows.append({**line, "prediction": table["label"].iloc[i], "scores": scores})
    return {
        "n": len(lines),
        "n_labelled": len(labelled),
        "n_unread": int(table["label"].isna().sum()),
        "accuracy": accuracy,
        "words_accuracy": words,
        "words_by": words_by,
        "model": config["model"],
        "members": [{"directions": d.name, "layer": layer} for d, layer in reader.members],
        "rows": rows,
    }
