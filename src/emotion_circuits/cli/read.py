"""``emotion-circuits read``: score any texts with the directions of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from emotion_circuits.cli.shared import Device, Dtype, JsonFlag, long_running, print_table, show_json
from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["read", "read_lines"]


def read(
    file: Annotated[Path, typer.Argument(help="Text file (one text per line) or JSONL with 'text' and maybe 'label'.")],
    run: Annotated[Path, typer.Option(help="Folder of a finished run.")],
    device: Device = None,
    dtype: Dtype = None,
    as_json: JsonFlag = False,
) -> None:
    """Say which emotion each text shows to the model, by the directions a run has fitted and validated.

    Where the file has labels, the accuracy is shown beside that of words alone: the better of the tuned baselines.

    Example: emotion-circuits read --run runs/demo letters.txt
    """
    lines = read_lines(file)
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


def read_lines(file: Path) -> list[dict[str, Any]]:
    """``{"line", "text", "label"}`` of every line that holds a text; blank lines are left out.

    Raises:
        EmotionCircuitsError: not readable, not UTF-8, a JSONL line without ``text``, or nothing in it.
    """
    try:
        content = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise EmotionCircuitsError(f"{file}: cannot be read as UTF-8 text: {error}") from error
    rows: list[dict[str, Any]] = []
    # Not splitlines(): it would cut texts at separators that may stand inside a JSON string.
    for number, line in enumerate(content.replace("\r\n", "\n").split("\n"), start=1):
        if not line.strip():
            continue
        if file.suffix.lower() not in (".jsonl", ".ndjson"):
            rows.append({"line": number, "text": line.strip(), "label": None})
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise EmotionCircuitsError(f"{file}:{number}: is not JSON: {error}") from error
        if not isinstance(value, dict) or not isinstance(value.get("text"), str) or not value["text"].strip():
            raise EmotionCircuitsError(f"{file}:{number}: text: needs a JSON object with a non-empty string 'text'")
        label = value.get("label")
        if label is not None and not isinstance(label, str):
            raise EmotionCircuitsError(f"{file}:{number}: label: must be a string, got {label!r}")
        rows.append({"line": number, "text": value["text"], "label": label})
    if not rows:
        raise EmotionCircuitsError(f"{file}: holds no text")
    return rows


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
        scores = {label: float(table[f"score_{label}"].iloc[i]) for label in labels[:-1]}
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
