"""One reader for every table that users bring, whatever program wrote it."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pandas as pd
import pytest

import emotion_circuits
from emotion_circuits.cli.read import read_lines
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts import load_prompts
from emotion_circuits.prompts.loading import with_columns
from emotion_circuits.prompts.tables import read_table

ROWS = [("Thanks a lot for the lift.", "gratitude"), ("The shop opens at nine.", "neutral")]
OBJECTS = [{"text": text, "label": label} for text, label in ROWS]


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def as_parquet(folder: Path, name: str, rows: list[dict]) -> Path:
    pd.DataFrame(rows).to_parquet(folder / name)
    return folder / name


TEXTS = {
    "letters.csv": "text,label\nThanks a lot for the lift.,gratitude\nThe shop opens at nine.,neutral\n",
    "blanks.csv": 'text, label\n"Thanks a lot for the lift.", gratitude\n"The shop opens at nine.", neutral\n',
    "hint.csv": "sep=;\r\ntext;label\r\nThanks a lot for the lift.;gratitude\r\nThe shop opens at nine.;neutral\r\n",
    "bars.csv": "text|label\nThanks a lot for the lift.|gratitude\nThe shop opens at nine.|neutral\n",
    "CAPITALS.CSV": "Text,LABEL\nThanks a lot for the lift.,gratitude\nThe shop opens at nine.,neutral\n",
    "tabs.tsv": "text\tlabel\nThanks a lot for the lift.\tgratitude\nThe shop opens at nine.\tneutral\n",
    "mark.csv": "\ufefftext,label\nThanks a lot for the lift.,gratitude\nThe shop opens at nine.,neutral\n",
    "macintosh.csv": "text,label\rThanks a lot for the lift.,gratitude\rThe shop opens at nine.,neutral\r",
    "macintosh-hint.csv": "sep=;\rtext;label\rThanks a lot for the lift.;gratitude\rThe shop opens at nine.;neutral\r",
    "mark.jsonl": "\ufeff" + "".join(json.dumps(o) + "\n" for o in OBJECTS),
    "lines.jsonl": "".join(json.dumps(o) + "\r\n" for o in OBJECTS),
    "lines.json": "".join(json.dumps(o) + "\n" for o in OBJECTS),
    "array.json": json.dumps(OBJECTS, indent=1),
    "array.jsonl": json.dumps(OBJECTS),
    "LINES.NDJSON": "".join(json.dumps(o) + "\n" for o in OBJECTS),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_a_table_is_the_same_rows_whatever_its_format(name, tmp_path):
    path = written(tmp_path, name, TEXTS[name])
    assert [(row.text, row.label) for row in load_prompts(path)] == ROWS
    assert [(row["text"], row["label"]) for row in read_lines(path)] == ROWS


def test_parquet_is_read_like_a_text_table(tmp_path):
    path = as_parquet(tmp_path, "two.PARQUET", OBJECTS)
    assert [(row.text, row.label) for row in load_prompts(path)] == ROWS
    assert [(row["text"], row["label"]) for row in read_lines(path)] == ROWS


def test_excel_is_read_or_says_what_it_needs(tmp_path):
    try:
        import openpyxl  # noqa: F401
    except ImportError:
        path = written(tmp_path, "letters.xlsx", b"PK")
        with pytest.raises(EmotionCircuitsError, match=r"letters\.xlsx: Excel needs the extra 'excel'"):
            load_prompts(path)
        return
    pd.DataFrame(OBJECTS).to_excel(tmp_path / "letters.xlsx", index=False)
    assert [(row.text, row.label) for row in load_prompts(tmp_path / "letters.xlsx")] == ROWS
    with pytest.raises(EmotionCircuitsError, match="is not an Excel workbook"):
        load_prompts(written(tmp_path, "broken.xlsx", b"PK"))


def test_marks_in_the_sentences_of_a_macintosh_do_not_part_cells(tmp_path):
    path = written(tmp_path, "a.csv", "text,label\rFirst; then; at last; the end.,gratitude\rNo.,anger\r")
    assert [(row["text"], row["label"]) for _, row in read_table(path).rows] == [
        ("First; then; at last; the end.", "gratitude"), ("No.", "anger"),
    ]  # fmt: skip


def workbook(path, rows, others=()):
    book = pytest.importorskip("openpyxl").Workbook()
    for cells in rows:
        book.active.append(cells)
    for name, more in others:
        sheet = book.create_sheet(name)
        for cells in more:
            sheet.append(cells)
    book.save(path)
    return path


def test_a_cell_of_excel_without_a_value_of_its_own_is_refused(tmp_path):
    for row, said in (
        (["=A2", "=B2"], r"a\.xlsx:3: cell A3 is a formula whose result was not saved"),
        (["No.", "#N/A"], r"a\.xlsx:3: cell B3 holds the error #N/A"),
    ):
        path = workbook(tmp_path / "a.xlsx", [["text", "label"], ["Yes.", "joy"], row])
        with pytest.raises(EmotionCircuitsError, match=said):
            load_prompts(path)


def test_other_sheets_of_excel_are_told_of_and_its_characters_are_read(tmp_path, caplog):
    rows = [["text", "label"], ["Dear all,_x000D_\nthank you. _x005F_x0041_", "joy"]]
    path = workbook(tmp_path / "a.xlsx", rows, [("More", [["text", "label"], ["No.", "anger"]]), ("Empty", [])])
    assert [row.text for row in load_prompts(path)] == ["Dear all,\nthank you. _x0041_"]
    assert "holds 2 sheets; only 'Sheet' is read" in caplog.text


def test_names_that_look_the_same_are_the_same(tmp_path):
    rows = "text,label,group\nA.,jo\u00e9,caf\u00e9\nB.,joe\u0301,cafe\u0301\nC.,jo\u00e9,cafe\u0301\n"
    found = load_prompts(written(tmp_path, "a.csv", rows))
    assert {row.label for row in found} == {"jo\u00e9"}
    assert len({(row.group, row.split) for row in found}) == 1
    for name in ("joy\u200b", "a\x1b[31mb", "a\x00"):
        path = written(tmp_path, "b.jsonl", json.dumps({"text": "A.", "label": name}))
        with pytest.raises(EmotionCircuitsError, match=r"b\.jsonl:1: label: holds the control or invalid character"):
            load_prompts(path)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_columns_of_other_names_are_mapped_in_every_format(kind, tmp_path):
    rows = [{"The sentence, in full": text, "emotion": label, "note": 7} for text, label in ROWS]
    path = tmp_path / f"survey.{kind}"
    match kind:
        case "csv" | "tsv":
            pd.DataFrame(rows).to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
        case "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case "json":
            path.write_text(json.dumps(rows))
        case "parquet":
            as_parquet(tmp_path, path.name, rows)
    columns = {"text": "The sentence, in full", "label": "emotion"}
    assert [(row.text, row.label) for row in load_prompts(with_columns(path, columns))] == ROWS
    assert [(row["text"], row["label"]) for row in read_lines(path, columns)] == ROWS
    with pytest.raises(EmotionCircuitsError, match=r"no column for text.*--map text=COLUMN.*Columns: The sentence"):
        load_prompts(path)
    with pytest.raises(EmotionCircuitsError, match=r"no column 'Satz' for text\. Columns: The sentence"):
        load_prompts(with_columns(path, {**columns, "text": "Satz"}))


@pytest.mark.parametrize("name", ["te}xt", "{text", "{0}", "{text!r:>9}"])
def test_a_column_may_have_braces_in_its_name(tmp_path, name):
    path = written(tmp_path, "a.csv", f"{name},label\nThank you.,gratitude\n")
    with pytest.raises(EmotionCircuitsError, match=rf"no column for text.*Columns: {re.escape(name)}, label"):
        load_prompts(path)


def test_a_letter_keeps_its_lines(tmp_path):
    path = written(tmp_path, "letters.csv", 'text,label\r\n"Dear all,\r\nthank you.",gratitude\r\nNo.,anger\r\n')
    assert [row.text for row in load_prompts(path)] == ["Dear all,\nthank you.", "No."]
    assert [line for line, _ in read_table(path).rows] == [2, 4]


def test_numbers_name_rows_in_every_format(tmp_path):
    rows = [{**o, "id": 10 + i, "group": i, "split": "train"} for i, o in enumerate(OBJECTS)]
    lines = written(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    for path in (lines, as_parquet(tmp_path, "a.parquet", rows)):
        assert [(row.id, row.group) for row in load_prompts(path)] == [("10", "0"), ("11", "1")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", '"text,label\nA.,b\n', r"a\.csv:1: a quotation mark is opened and not closed"),
        ("a.csv", 'text,label\n"A.,b\nC.,d\n', r"a\.csv:2: a quotation mark is opened and not closed"),
        ("a.csv", "text,label\n" + "x" * 200_000 + ",b\n", r"a\.csv:2: a cell is longer than 131,072"),
        ("a.csv", "text,label,text\nA.,b,c\n", r"a\.csv:1: the column 'text' stands more than once"),
        ("a.csv", "", r"a\.csv:1: is empty"),
        ("a.csv", "text,label\nA.,b\n".encode("utf-16"), r"a\.csv:1: is UTF-16, not UTF-8"),
        ("a.csv", b"text,label\nA.,b\ncaf\xe9,b\n", r"a\.csv:3: is not UTF-8 \(byte 4\)"),
        ("a.jsonl", '{"text":"Thank you \\ud83d"}', r"a\.jsonl:1: holds half of a character \(\\ud83d"),
        ("a.jsonl", '{"text": "A.", "text": "B."}', r"a\.jsonl:1: holds the key 'text' twice"),
        ("a.jsonl", "\n" + "[" * 100_000, r"a\.jsonl:2: is nested more than 64 deep"),
        ("a.jsonl", '{"text":' * 100_000, r"a\.jsonl:1: is nested more than 64 deep"),
        ("a.jsonl", '{"text": "A.", "label": ' + "[" * 65 + "]" * 65 + "}", "is nested more than 64 deep"),
        ("a.jsonl", '{"text": "A.", "label": ' + "9" * 5_000 + "}", "holds a whole number of 5000 digits"),
        ("a.jsonl", '{"text": "A.", "label": NaN}', "holds NaN, which is no finite number"),
        ("a.jsonl", '{"text": "A.", "label": 1e999}', "holds 1e999, which is no finite number"),
        ("a.jsonl", '{"text": "' + "a" * 2**21 + '"}', r"is 2,097,164 characters long; a row may have 1,048,576"),
        ("a.json", '[\n{"text": "A.", "label": "b"},\n{"text": }]', r"a\.json:3: is not JSON"),
        ("a.json", '[\n{"text": "A.", "label": "b"}\n', r"a\.json:3: is not JSON: a comma or the end"),
        ("a.json", '{\n"rows": [{"text": "A."}]\n}', r"a\.json: is one JSON object \('rows'\); a corpus is an array"),
        ("a.parquet", b"PAR1 no PAR1", r"a\.parquet: is not Parquet, or is damaged"),
        ("a.ods", b"PK", r"a\.ods: a table is a file that ends in \.csv"),
        ("a.csv.gz", b"\x1f\x8b", r"a\.csv\.gz: a table is a file that ends in"),
    ],
)  # fmt: skip
def test_what_is_doubtful_is_refused_in_one_line_with_its_place(name, content, message, tmp_path):
    path = written(tmp_path, name, content)
    with pytest.raises(EmotionCircuitsError, match=message):
        load_prompts(path)


def test_a_small_file_that_unpacks_to_gigabytes_is_refused(tmp_path):
    path = as_parquet(tmp_path, "bomb.parquet", [{"text": "a" * 10**6, "label": "b"}] * 2_000)
    assert path.stat().st_size < 2 * 10**6
    with pytest.raises(EmotionCircuitsError, match="unpacks to more than 256 MiB"):
        load_prompts(path)


def test_ids_shared_by_two_corpora_are_named_with_both_files(tmp_path, row):
    one, two = (written(tmp_path, name, json.dumps(row()) + "\n") for name in ("one.jsonl", "two.jsonl"))
    with pytest.raises(
        EmotionCircuitsError, match=rf"{re.escape(str(two))}:1: id: 'a' stands already in {re.escape(str(one))}:1"
    ):
        load_prompts([one, two])
    assert len(load_prompts([one, one])) == 1


@pytest.mark.parametrize("name", ["no#columns.csv", "100%.csv"])
def test_a_file_of_an_odd_name_is_still_a_file(name, tmp_path):
    path = written(tmp_path, name, TEXTS["letters.csv"])
    assert len(load_prompts(path)) == 2


# Whose files are no user's: what this program wrote itself, read where it writes.
_OWN_RECORDS = {
    "model/bundled.py", "model/sums.py", "record/parts.py", "record/running.py", "cli/runs.py", "page/page.py",
    "study/tracking.py", "model/chat.py", "model/chat_worker.py", "model/fingerprint.py", "record/notes.py", "page/plainly.py",
    "sealing.py",
}  # fmt: skip
_READERS = {"documents.py", "prompts/tables.py"}
_READING = {
    ("json", "load"), ("json", "loads"), ("yaml", "load"), ("yaml", "safe_load"), ("yaml", "full_load"), ("csv", "reader"),
    ("csv", "DictReader"), ("pd", "read_csv"), ("pd", "read_table"), ("pd", "read_json"), ("pd", "read_excel"),
    ("openpyxl", "load_workbook"),
}  # fmt: skip


def test_nothing_else_in_the_package_reads_json_yaml_or_tables():
    root = Path(emotion_circuits.__file__).parent
    others = {}
    for path in root.rglob("*.py"):
        calls = {
            (node.value.id, node.attr)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        }
        if found := calls & _READING:
            others[path.relative_to(root).as_posix()] = found
    assert set(others) >= _READERS
    assert set(others) <= _READERS | _OWN_RECORDS
