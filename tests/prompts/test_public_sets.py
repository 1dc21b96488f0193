"""Tables in the forms of public sets, each by the very command of its recipe; every row here is invented."""

import re
import shlex
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from emotion_circuits.cli.app import app
from emotion_circuits.curation.own import own_attribute
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts import load_attribute, load_prompts
from emotion_circuits.prompts.loading import parse_column_map, with_columns

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "public-sets.md"
N = 20


def go_emotions():
    ids = {
        "15": "Cheers for the lift {}",
        "2": "Stop shouting at bus {}",
        "24": "My fault about stop {}",
        "27": "Bus {} runs daily",
    }
    rows = [f"{text.format(i)}\t{number}\te{number}x{i}" for i in range(N) for number, text in ids.items()]
    return "\n".join([*rows, "Cheers, and my fault\t15,24\te1", "A wonder\t26\te2"]) + "\n"


def wrime():
    names = ("Joy", "Sadness", "Anticipation", "Surprise", "Anger", "Fear", "Disgust", "Trust")
    texts = {
        "Joy": "{}番の犬が来た",
        "Sadness": "{}番の傘が壊れた",
        "Anger": "{}番の店が閉まった",
        "Fear": "{}番の道が暗い",
    }
    head = [
        "Sentence",
        "UserID",
        "Datetime",
        "Train/Dev/Test",
        *(f"{who}_{n}" for who in ("Writer", "Avg. Readers") for n in names),
    ]
    lines = ["\t".join(head)]
    for i in range(N):
        for name, text in texts.items():
            strengths = [2 if n == name else 1 if n == "Surprise" else 0 for n in names]
            lines.append("\t".join([text.format(i), "7", "2015/1/1", "train", *["0"] * 8, *map(str, strengths)]))
    for strengths in ([0] * 8, [1, 1, 0, 0, 0, 0, 0, 0]):
        lines.append(
            "\t".join([f"名前のない日{strengths[0]}", "7", "2015/1/1", "dev", *["3"] * 8, *map(str, strengths)])
        )
    return "\n".join(lines) + "\n"


def j_prageval():
    return "polite,plain\n" + "".join(f"{i}番へ参ります,{i}番へ行くよ\n" for i in range(N))


def tydip():
    rows = [(f'"Could you, please, look at page {i}?",1.2', f"Fix page {i} now!,-0.9") for i in range(N)]
    return "sentence,score\n" + "\n".join(line for both in rows for line in both) + "\nPage 7 has a list,0.1\n"


def cocoa():
    return "".join(f"Haben Sie Zug {i} gesehen?\tHast du Zug {i} gesehen?\n" for i in range(N))


RECIPES = {
    "train.tsv": (go_emotions, {"gratitude": N, "anger": N, "remorse": N, "neutral": N}, "neutral"),
    "wrime-ver2.tsv": (wrime, {"joy": N, "sadness": N, "anger": N, "fear": N}, None),
    "jprageval.csv": (j_prageval, {"polite": N, "plain": N}, "plain"),
    "en_train.csv": (tydip, {"polite": N, "impolite": N}, None),
    "cocoa-de.tsv": (cocoa, {"formal": N, "informal": N}, "informal"),
}


def commands():
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [shlex.split(line) for line in lines if line.startswith("emotion-circuits run")]
    return {words[words.index("--corpus") + 1]: words for words in found}


def option(words, name):
    return [words[i + 1] for i, word in enumerate(words) if word == name]


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipe_of_the_page_reads_a_file_of_its_form(name, tmp_path):
    made, counts, reference = RECIPES[name]
    words = commands()[name]
    (tmp_path / name).write_text(made(), encoding="utf-8")
    found = own_attribute(
        tmp_path / name, tmp_path / "run", columns=parse_column_map(option(words, "--map")),
        reference=next(iter(option(words, "--reference")), None), language=next(iter(option(words, "--language")), "en"),
    )  # fmt: skip
    attribute = load_attribute(found.path)
    rows = load_prompts([*attribute.corpora.fit, *attribute.classifier.fit])
    assert {label: sum(row.label == label for row in rows) for label in attribute.labels} == counts
    assert attribute.reference == reference


def test_every_recipe_is_tried_here():
    assert set(commands()) == set(RECIPES)


def test_sentences_of_one_line_are_one_group(tmp_path):
    (tmp_path / "cocoa-de.tsv").write_text(cocoa(), encoding="utf-8")
    rows = load_prompts(with_columns(tmp_path / "cocoa-de.tsv", {"text:formal": "@1", "text:informal": "@2"}))
    by_group = {}
    for row in rows:
        by_group.setdefault(row.group, []).append((row.label, row.split))
    assert len(rows) == 2 * N
    assert all({label for label, _ in own} == {"formal", "informal"} for own in by_group.values())
    assert all(len({split for _, split in own}) == 1 for own in by_group.values())


def test_lists_of_parquet_are_read_as_ids_between_commas_are(tmp_path):
    table = pa.table({"text": ["Cheers", "Both", "Plain"], "labels": [[15], [15, 24], [27]]})
    pq.write_table(table, tmp_path / "train.parquet")
    rows = load_prompts(
        with_columns(tmp_path / "train.parquet", {"label:gratitude": "labels==15", "label:neutral": "labels==27"})
    )
    assert [(row.text, row.label) for row in rows] == [("Cheers", "gratitude"), ("Plain", "neutral")]


def test_multi_hot_columns_are_strengths(tmp_path):
    (tmp_path / "raw.csv").write_text("text,joy,fear\nA,1,0\nB,0,1\nC,1,1\nD,0,0\n", encoding="utf-8")
    rows = load_prompts(with_columns(tmp_path / "raw.csv", {"label:joy": "joy", "label:fear": "fear"}))
    assert [(row.text, row.label) for row in rows] == [("A", "joy"), ("B", "fear")]


def test_what_is_left_out_is_counted(tmp_path, caplog):
    (tmp_path / "raw.csv").write_text("text,joy,fear\nA,1,0\nB,0,1\nC,1,1\nD,0,0\n", encoding="utf-8")
    load_prompts(with_columns(tmp_path / "raw.csv", {"label:joy": "joy", "label:fear": "fear"}))
    assert "2 rows are left out: of 1 no label's rule holds, of 1 several do" in caplog.text


@pytest.mark.parametrize(
    ("maps", "told"),
    [
        (["label:joy=joy>=high"], "'high' is no number"),
        (["label:joy=joy", "text:fear=text"], "exclude each other"),
        (["label:joy=joy", "label=joy"], "'label' is mapped besides"),
        (["text:joy=text", "text=text"], "'text' is mapped besides"),
        (["label:joy=sorrow"], "no column 'sorrow' for label:joy. Columns: text, joy"),
        (["label:joy=joy>5"], "of no row exactly one label's rule holds"),
        (["text=@3", "label=@2"], "no column '@3' for text. Columns: @1, @2"),
        (["labels:joy=joy"], "there is no field 'labels:joy'"),
    ],
)
def test_what_cannot_be_laid_out_is_one_line(maps, told, tmp_path):
    (tmp_path / "raw.csv").write_text("text,joy\nA,1\nB,nan\n", encoding="utf-8")
    with pytest.raises(EmotionCircuitsError) as error:
        load_prompts(with_columns(tmp_path / "raw.csv", parse_column_map(maps)))
    assert told in str(error.value)


def test_columns_of_a_file_that_names_them_are_not_counted(tmp_path):
    (tmp_path / "raw.jsonl").write_text('{"text": "A", "label": "joy"}\n', encoding="utf-8")
    with pytest.raises(EmotionCircuitsError, match="names its columns; map them by name"):
        load_prompts(with_columns(tmp_path / "raw.jsonl", {"text": "@1", "label": "@2"}))


def test_the_check_reads_them_too(tmp_path):
    (tmp_path / "en_train.csv").write_text(tydip(), encoding="utf-8")
    maps = [item for m in option(commands()["en_train.csv"], "--map") for item in ("--map", m)]
    done = CliRunner().invoke(app, ["data", "check", str(tmp_path / "en_train.csv"), *maps, "--json"])
    assert done.exit_code in (0, 1)
    assert "Traceback" not in done.output
    assert "polite" in done.stdout
