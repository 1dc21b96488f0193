import json

import pytest
from typer.testing import CliRunner

from emotion_circuits.cli.app import app
from emotion_circuits.errors import EmotionCircuitsError
from families import tiny_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "model"
    model = tiny_model("llama", max_position_embeddings=512)
    model.hf.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path_factory.getbasetemp() / "trace-cache"))


def test_a_text_is_traced_drawn_and_printed(tiny, tmp_path):
    page = tmp_path / "deep" / "trace.html"
    arguments = ["trace", "I thank you.", "--model", tiny, "--emotion", "anger", "--out", str(page)]
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)
    parts = [c["part"] for c in found["components"]] + [found["others"]["part"]]
    assert sum(parts) == pytest.approx(found["projection"]["anger"], abs=1e-4)
    assert found["gap"] < 1e-3
    html = page.read_text(encoding="utf-8")
    assert "anger in “I thank you.”" in html
    assert html.count('class="plot"') == 3
    text = CliRunner().invoke(app, arguments, catch_exceptions=False).output
    assert "who writes anger at the last token" in text


def test_the_page_speaks_japanese_and_says_how(tiny, tmp_path):
    page = tmp_path / "trace.html"
    CliRunner().invoke(
        app, ["trace", "I thank you.", "--model", tiny, "--emotion", "anger", "--out", str(page), "--lang", "ja"],
        catch_exceptions=False,
    )  # fmt: skip
    html = page.read_text(encoding="utf-8")
    assert '<html lang="ja"' in html
    assert "「I thank you.」" in html
    assert "埋め込み" in html
    assert f"--out {page} --lang ja" in html


def test_an_unknown_language_is_refused_before_anything_is_read(tmp_path):
    for command in (["trace", "I"], ["run"], ["report", str(tmp_path)], ["align", "a", "b"]):
        found = CliRunner().invoke(app, [*command, "--lang", "fr"])
        assert found.exit_code == 2
        assert "'en', 'ja'" in found.output


def test_bad_input(tiny, tmp_path):
    for arguments, message in (
        (["  ", "--model", tiny], "text is empty"),
        (["I", "--model", tiny, "--emotion", "envy"], "no direction for 'envy'"),
        (["I", "--model", tiny, "--layer", "9"], "9 is not a layer of this model"),
        (["I", "--model", tiny, "--run", str(tmp_path)], "not the folder of a run"),
    ):
        with pytest.raises(EmotionCircuitsError, match=message):
            CliRunner().invoke(app, ["trace", *arguments], catch_exceptions=False)
