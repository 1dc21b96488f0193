"""An attribute's file: what it says, what may be wrong with it, and who is told."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

import emotion_circuits
from attribute_cases import COLOURS, WORDS, openings, write_colours
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import (
    AttributeClassifier,
    KeywordCounts,
    VaderSentiment,
    check_attribute,
    judges_of,
    refuse_unfit,
    registry,
    validate_on_bundled,
)
from emotion_circuits.language import speaking, term
from emotion_circuits.model import bundled, install
from emotion_circuits.model.opening import is_bundled
from emotion_circuits.page.appearance import shown_as
from emotion_circuits.page.figures import CYCLE, colour_of
from emotion_circuits.prompts import available_attributes, lexicon, load_attribute, load_prompts
from emotion_circuits.stations.circuits.settings import pairs_of
from emotion_circuits.stations.steering.plan import reported_corpus
from emotion_circuits.stations.trace.settings import traced_corpus
from emotion_circuits.study import load_config, studied


@pytest.mark.parametrize("name", available_attributes())
def test_bundled_attributes_have_no_problem(name):
    found = load_attribute(name)
    assert found.name == name
    for model in _read_by_judges(found):
        install(model)
    assert check_attribute(found) == []


def _read_by_judges(attribute):
    """Bundled models whose states a judge of the attribute reads: with one that is not installed the check says so."""
    features = (attribute.classifier and attribute.classifier.features) or ""
    kind, _, model = features.partition(":")
    return [model] if kind == "states" and is_bundled(model) else []


def test_a_judge_of_a_model_that_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr(bundled, "installed", lambda name: None)
    problems = [p for p in check_attribute(load_attribute("emotion-ja")) if "not installed" in str(p)]
    assert any("emotion-circuits models install gemma3-270m" in str(p) for p in problems)


def test_emotion_in_english_is_what_the_page_and_the_lexicon_call_it():
    found = load_attribute("emotion-en")
    assert found.labels == ("gratitude", "anger", "apology", "neutral")
    assert found.terms("ja") == {"gratitude": "感謝", "anger": "怒り", "apology": "謝罪", "neutral": "中立"}
    assert found.lexicon_words() == lexicon("en")
    assert found.metrics["vader"]["apology"] == -1


def test_paths_count_from_the_file_and_bundled_names_stay(tmp_path):
    found = load_attribute(
        write_colours(tmp_path, openings={"choose": "openings.jsonl", "report": "continuations-fresh"})
    )
    assert found.corpora.fit == (str(tmp_path / "colours.jsonl"),)
    assert found.prompting.examples == found.corpora.trace == found.corpora.fit[0]
    assert found.openings.report == "continuations-fresh"
    assert check_attribute(found) == []


def test_defaults_are_its_own_classifier_and_its_own_corpora(tmp_path):
    found = load_attribute(write_colours(tmp_path))
    assert found.axis == "colours"
    assert found.classifier_corpora() == found.corpora.fit
    assert found.labelled("colours").labels == {"warm": "warm", "cold": "cold", "plain": "plain"}
    assert found.labelled("sentiment") is None
    classifier, keywords = judges_of(found, cache=False)
    assert isinstance(classifier, AttributeClassifier)
    assert (classifier.name, classifier.axis, classifier.labels) == ("colours", "colours", ("warm", "cold", "plain"))
    assert isinstance(keywords, KeywordCounts)
    scores = keywords.score(["An amber light, and peach.", "Cold as frost.", "A heavy table."])
    assert scores.to_dict("list") == {"n_warm": [2, 0, 0], "n_cold": [0, 2, 0]}
    assert keywords.decide(scores) == ["warm", "cold", "plain"]


def test_a_classifier_knows_texts_that_are_none_of_the_values(tmp_path):
    plain = load_attribute(write_colours(tmp_path))
    (tmp_path / "open").mkdir()
    open_ = load_attribute(write_colours(tmp_path / "open", classifier={"none": ["openings.jsonl"]}))
    judges = [
        AttributeClassifier(a, forced=f, root=tmp_path) for a, f in ((plain, False), (open_, True), (open_, False))
    ]
    # Without other texts the judge of any text and the forced choice are fitted on the same.
    assert judges[0].version == judges[1].version != judges[2].version
    assert [j.name for j in judges] == ["colours", "colours-forced", "colours"]


INSTRUCTIONS = {"warm": ["Warmly."], "cold": ["Coldly."], "plain": ["Plainly."]}
ASKED = {"fit": "openings.jsonl", "choose": "openings.jsonl", "report": "fresh.jsonl", "instructions": INSTRUCTIONS}


def test_requests_of_chat_lie_beside_the_file_and_their_splits_are_checked(tmp_path):
    found = load_attribute(write_colours(tmp_path, chat=ASKED))
    assert found.chat.fit == str(tmp_path / "openings.jsonl")
    assert not [problem for problem in check_attribute(found) if "chat" in problem]
    phrases = found.chat.prompting(0, "plain", found.prompting)
    assert (phrases.plain, phrases.instructions) == ("Plainly.", {"warm": "Warmly.", "cold": "Coldly."})
    assert phrases.chat.format(text="What now?", instruction="Warmly.") == "What now?\n\nWarmly."
    (tmp_path / "b").mkdir()
    turned = load_attribute(write_colours(tmp_path / "b", chat={**ASKED, "choose": "fresh.jsonl", "report": "gone"}))
    told = "\n".join(check_attribute(turned))
    assert "fresh.jsonl has no request in its split validation; add some" in told
    assert "chat.report: gone: neither" in told


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valeus": ["a"]}, r"colours\.yaml: valeus: unknown key; known: name, title, .*values"),
        (
            {"openings": {"choose": "a", "report": "b", "tset": "c"}},
            r"openings\.tset: unknown key; known: choose, report, held",
        ),
        ({"prompting": {**COLOURS["prompting"], "shots": 3}}, r"prompting\.shots: unknown key; known: plain"),
        ({"validation": {"tone": {"stes": ["core"]}}}, r"validation\.tone\.stes: unknown key; known: sets, labels"),
        ({"values": ["warm", "warm"]}, "values: name each once"),
        ({"values": ["warm", "plain"]}, "values: name each once, and not the reference"),
        ({"values": ["warm.cold"]}, r"values\.0"),
        ({"values": ["warm", "random"]}, "random would be taken for an arm"),
        ({"values": None}, "values: Field required"),
        ({"title": {"ja": "色"}}, "title: needs English"),
        ({"metrics": {"vader": {"warm": 1}}}, "metrics: vader is none of the judges"),
        ({"metrics": {"share": {"wram": 1}}}, r"metrics\.share: wram is none of the values \(warm, cold\)"),
        ({"metrics": {"share": {"warm": 2}}}, r"metrics\.share\.warm: Input should be -1 or 1"),
        ({"colours": {"warm": "red"}}, r"colours\.warm"),
        ({"words": {"ja": {"hot": "x"}}}, r"words\.ja: hot is none of the values and reference"),
        ({"lexicon": {"hot": ["x"]}}, "lexicon: hot is none of the values"),
        (
            {"chat": {**ASKED, "instructions": {"warm": ["a"], "cold": ["b"]}}},
            "instructions: none for plain; every label",
        ),
        (
            {"chat": {**ASKED, "instructions": {**INSTRUCTIONS, "hot": ["x"]}}},
            r"chat\.instructions: hot is none of the values",
        ),
        (
            {"chat": {**ASKED, "instructions": {**INSTRUCTIONS, "cold": ["x", "y"]}}},
            r"instructions: every label needs equally many, one at least; there are: warm 1, cold 2, plain 1",
        ),
        ({"chat": {**ASKED, "ask": "{request}"}}, r"chat\.ask: .*needs the places \{request\}, \{instruction\}"),
        (
            {"prompting": {**COLOURS["prompting"], "few_shot": "{examples}"}},
            r"prompting\.few_shot: needs the places \{examples\}, \{instruction\}",
        ),
        (
            {"prompting": {**COLOURS["prompting"], "chat": "{instruction} {text} {"}},
            r"prompting\.chat: needs the places \{instruction\}, \{text\}.*a brace that is part of the text is written twice",
        ),
        (
            {"prompting": {**COLOURS["prompting"], "chat": "{instruction} {text:>999999999}"}},
            r"prompting\.chat: needs the places \{instruction\}, \{text\} and no others",
        ),
        (
            {
                "asked": {
                    "model": "m",
                    "question": "{text} {labels} }",
                    "answers": {"warm": "a", "cold": "b", "plain": "c"},
                }
            },
            r"asked\.question: needs the places \{text\}, \{labels\}",
        ),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_its_field(tmp_path, changes, message):
    with pytest.raises(EmotionCircuitsError, match=message):
        load_attribute(write_colours(tmp_path, **changes))


def test_files_that_are_none(tmp_path):
    with pytest.raises(EmotionCircuitsError, match=r"emotion-xx: neither a bundled attribute.*emotion-en"):
        load_attribute("emotion-xx")
    with pytest.raises(EmotionCircuitsError, match=r"none\.yaml: cannot be read"):
        load_attribute(tmp_path / "none.yaml")
    (tmp_path / "a.yaml").write_text("a: [\n")
    with pytest.raises(EmotionCircuitsError, match="is not YAML"):
        load_attribute(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("- a\n")
    with pytest.raises(EmotionCircuitsError, match="must hold keys and values"):
        load_attribute(tmp_path / "a.yaml")


def test_all_problems_are_told_at_once_each_with_file_and_field(tmp_path):
    path = write_colours(
        tmp_path,
        values=["warm", "cold", "shiny"],
        corpora={"fit": ["colours.jsonl", "nowhere"], "trace": "openings.jsonl"},
        openings={"choose": "fresh.jsonl", "report": "gone.jsonl"},
        judges=["keywords", "emotion", "vader", "polite-guard", "oracle", "colours"],
        words={"xx": {"warm": "x"}},
    )
    found = check_attribute(load_attribute(path))
    assert all(problem.startswith(f"{path}: ") for problem in found)
    told = "\n".join(problem.removeprefix(f"{path}: ") for problem in found)
    for expected in (
        r"corpora\.fit: nowhere: neither a bundled set nor a file",
        r"corpora\.fit: no training sentence is labelled shiny in .*; add some",
        r"openings\.choose: .*fresh\.jsonl has no opening in its split train, validation",
        r"openings\.report: gone\.jsonl: neither",
        r"pairs: .*pairs\.jsonl has no pair of shiny",
        r"lexicon: no words for shiny",
        r"prompting\.instructions: no sentence for shiny",
        r"prompting\.examples: .*fewer of shiny \(0\)",
        r"judges: 'keywords' comes first, so it decides, but gives no probability of warm, cold, shiny",
        r"judges: 'emotion' knows none of warm, cold, shiny; leave it out",
        r"judges: 'vader' knows none of warm, cold, shiny; .*'metrics'",
        r"judges: 'polite-guard' knows none of warm, cold, shiny",
        r"judges: no evaluator named 'oracle'",
        r"words: reports have no language xx; they have en, ja",
        r"judges: .*nowhere",  # its own classifier cannot be fitted either
    ):
        assert re.search(f"^{expected}", told, re.MULTILINE), expected
    with pytest.raises(EmotionCircuitsError, match=f"^{len(found)} problems with the attribute:"):
        refuse_unfit(load_attribute(path))


def test_marked_words_are_nothing_that_an_attribute_must_have(tmp_path):
    path = write_colours(tmp_path)
    rows = [{**json.loads(line), "spans": []} for line in (tmp_path / "colours.jsonl").read_text().splitlines()]
    (tmp_path / "colours.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert check_attribute(load_attribute(path)) == []


def test_a_study_of_some_values_is_asked_for_these_alone(tmp_path):
    path = write_colours(tmp_path, values=["warm", "cold", "shiny"], pairs=None, prompting=None, judges=["colours"])
    found = load_attribute(path)
    assert not any("shiny" in p for p in check_attribute(found, ["warm", "cold"]) if p.startswith("corpora.fit"))
    assert any("is labelled shiny" in problem for problem in check_attribute(found))


def test_a_judge_that_gives_a_figure_needs_a_side_for_it(tmp_path):
    found = load_attribute(
        write_colours(tmp_path, judges=["colours", "vader"], metrics={"vader": {"warm": 1, "cold": -1}})
    )
    assert check_attribute(found) == []
    assert found.figure_judges() == ("vader",)


def test_a_judge_is_listed_by_the_name_it_gives_its_columns(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_own", {})
    registry.register("other-name", VaderSentiment)
    changes = {"judges": ["colours", "other-name"], "metrics": {"other-name": {"warm": 1}}}
    (first, second) = check_attribute(load_attribute(write_colours(tmp_path, **changes)))
    assert "'other-name' calls itself 'vader'" in first
    assert "metrics.other-name: that judge gives no number of its own name, but vader" in second


def test_its_judge_is_tested_where_there_are_texts_for_it(tmp_path):
    path = write_colours(tmp_path, corpora={"fit": ["train.jsonl", "colours.jsonl"], "trace": "colours.jsonl"})
    rows = [json.loads(line) for line in (tmp_path / "colours.jsonl").read_text().splitlines()]
    train = [{**row, "id": f"t-{row['id']}", "set": "train"} for row in rows if row["split"] == "train"]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in train))
    found = load_attribute(path)
    assert check_attribute(found) == []
    assert [v.data for v in validate_on_bundled(judges_of(found, cache=False)[1], found)] == [
        str(tmp_path / "colours.jsonl")
    ]


def test_its_words_and_colours_are_those_of_the_page(tmp_path):
    found = load_attribute(write_colours(tmp_path))
    with shown_as(found, "ja"):
        assert term("warm – cold") == "暖色 – 寒色"
        assert term("layer") == "層"
        assert colour_of("warm", 5) == "#AB3311"
        assert colour_of("plain", 1) == CYCLE[1]
    with shown_as(found, "en"):
        assert term("warm") == "warm"
    with speaking("ja"):
        assert term("warm") == "warm"
    assert colour_of("warm", 2) == CYCLE[2]


def test_a_study_takes_what_the_attribute_says_but_where_it_says_otherwise(tmp_path):
    path = write_colours(tmp_path)
    about = studied(load_config("quick", overrides={"attribute": str(path)}))
    assert (about.values, about.reference, about.judge) == (("warm", "cold"), "plain", "colours")
    assert about.choose == str(tmp_path / "openings.jsonl")
    config = load_config(
        "quick",
        overrides={
            "attribute": str(path), "emotions": ["cold"], "prompts": ["core"], "continuations": "continuations",
            "trace.set": "core", "circuits.pairs": "pairs", "steering.test_openings": "continuations-fresh",
        },
    )  # fmt: skip
    changed = studied(config)
    assert (changed.values, changed.fit, changed.choose) == (("cold",), ("core",), "continuations")
    assert changed.labels == ("cold", "plain")
    # What one station alone reads is that station's to say.
    assert (traced_corpus(config), reported_corpus(config), pairs_of(config)) == (
        "core",
        "continuations-fresh",
        "pairs",
    )


def test_the_profiles_report_on_the_attributes_own_openings(tmp_path):
    held = {profile: reported_corpus(load_config(profile)) for profile in ("quick", "baseline")}
    assert held == {"quick": "continuations-fresh", "baseline": "continuations-held"}
    other = load_config("baseline", overrides={"attribute": str(write_colours(tmp_path))})
    assert reported_corpus(other) == str(tmp_path / "fresh.jsonl")  # it keeps none apart


def test_emotions_that_the_attribute_does_not_have_are_named(tmp_path):
    with pytest.raises(
        EmotionCircuitsError, match=r"profile quick: emotions: .*emotion-en.* has gratitude, .*, not joy"
    ):
        load_config("quick", overrides={"emotions": ["joy"]})
    with pytest.raises(EmotionCircuitsError, match="neither a bundled attribute"):
        load_config("quick", overrides={"attribute": "joys"})


def test_no_code_names_a_value_of_a_bundled_attribute():
    """But for the labels of a classifier that somebody else fitted, for docstrings, and for words with another meaning."""
    # A confusion matrix, a model's surprise in nats, what the corpus other_feelings is said to hold, a number's sign.
    ordinary = {"confusion", "surprise", "joy", "sadness", "positive", "negative"}
    values = {v for n in available_attributes() for v in load_attribute(n).values} - ordinary
    named = re.compile(rf"\b({'|'.join(sorted(values))})\b")
    found = set()
    for path in Path(emotion_circuits.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        told = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(node.body[0], ast.Expr)
        }
        strings = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        found |= {path.name for node in strings if id(node) not in told and named.search(node.value)}
    assert found == {"hub.py"}


def test_the_invented_corpora_are_balanced(tmp_path):
    write_colours(tmp_path)
    rows = load_prompts(tmp_path / "colours.jsonl")
    assert {len({len(r.text) for r in rows if r.group == group}) for group in {r.group for r in rows}} == {1}
    assert {w for words in WORDS.values() for w in words if len(w) != 5} == set()
    assert {row["label"] for row in openings("x")} == {"plain"}
    assert yaml.safe_load((tmp_path / "colours.yaml").read_text(encoding="utf-8"))["name"] == "colours"


def test_a_value_is_the_same_however_its_accents_are_written(tmp_path):
    apart, whole = "a\u0308rger", "\u00e4rger"
    words = {"en": {apart: "anger"}}
    path = write_colours(
        tmp_path, values=[apart, "cold"], lexicon={apart: ["amber"], "cold": ["azure"]}, words=words, colours={apart: "#AB3311"},
        prompting=None,
    )  # fmt: skip
    found = load_attribute(path)
    assert found.values == (whole, "cold")
    assert found.colours == {whole: "#AB3311"}
    assert found.terms("en") == {whole: "anger"}
    assert found.some([apart]) == (whole,)


@pytest.mark.parametrize("name", ["\0", "joy\nfear", "\ufffd"])
def test_a_value_whose_name_cannot_be_shown_is_refused(name):
    with pytest.raises(EmotionCircuitsError, match="the name of an emotion holds "):
        load_config(overrides={"emotions": [name]})
