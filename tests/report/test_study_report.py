"""The report of a whole (tiny, random) study: every question answered, in both languages, as files, and of bounded size."""

import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from typer.testing import CliRunner

from emotion_circuits.cli.app import app
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.language import speaking
from emotion_circuits.page.browser import open_page
from emotion_circuits.page.figures import steering_heatmaps
from emotion_circuits.page.latex import cited_in
from emotion_circuits.page.page import Figure, Section, Sheet, Sheets, Table, write_page
from emotion_circuits.page.telling import tell
from emotion_circuits.record.reading import read_claims, read_finished
from emotion_circuits.report.paper import methods, write_paper
from emotion_circuits.report.study_page import render_report, write_report
from emotion_circuits.study import load_config, run_study
from families import tiny_model
from report.test_page import KINDS, browser, claim, errors, page

SMALL = {
    "prompts": ["core"],
    "capture.kinds": ["resid_post"],
    "capture.poolings": ["last", "emotion", "mean"],
    "directions.extractors": ["mean_difference", "token"],
    "directions.reading": ["mean_difference"],
    "directions.poolings": ["last", "emotion", "mean"],
    "directions.null_draws": 2,
    "trace.groups": 8,
    "trace.null_draws": 4,
    "steering.layers": [1],
    "steering.alphas": [0.2],
    "steering.validation_prompts": 8,
    "steering.test_prompts": 8,
    "steering.random_directions": 2,
    "steering.shuffled_directions": 2,
    "steering.max_new_tokens": 6,
    "steering.max_perplexity_ratio": 50.0,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    model = tiny_model("llama", max_position_embeddings=1024)
    model.hf.save_pretrained(root / "tiny")
    model.tokenizer.save_pretrained(root / "tiny")
    run_study(load_config("quick", overrides={"model": str(root / "tiny"), **SMALL}), root / "run")
    return root / "run"


def test_the_page_opens_with_five_questions_and_where_it_is_asked_for_the_plan(run, tmp_path):
    assert 'id="plan-section"' not in write_report(run, out=tmp_path / "s.html").read_text(encoding="utf-8")
    written = render_report(run, out=tmp_path / "r.html", plan=True)
    html = written.path.read_text(encoding="utf-8")
    assert [a.key for a in written.page.answers] == ["taken-in", "travels", "shows", "stable", "steered"]
    assert html.count('class="question"') == 5
    assert (
        html.index('class="jump"')
        < html.index('id="questions"')
        < html.index('id="plan-section"')
        < html.index('id="taken-in"')
    )
    assert html.count('class="claim ') == len(read_claims(run))
    # A link leads somewhere.
    anchors = set(re.findall(r' id="([^"]+)"', html))
    assert set(re.findall(r'href="#([^"]+)"', html)) <= anchors


def test_a_random_model_gets_answers_that_support_nothing(run, tmp_path):
    told = {a.key: a for a in render_report(run, out=tmp_path / "r.html").page.answers}
    assert not told["stable"].evidence
    assert "emotion-circuits align" in told["stable"].command
    # That text stays within a huge bound of fluency is true of a random model too.
    supported = [
        row.name
        for a in told.values()
        for row in a.evidence
        if "supported" in dict(row.verdicts) and "fluency" not in row.name
    ]
    claims = [c for c in read_claims(run) if c.verdict == "supported" and c.about.metric != "fluency"]
    assert bool(supported) == bool(claims)


def test_the_largest_writers_are_drawn_and_the_first_of_them_is_named(run, tmp_path):
    page = render_report(run, out=tmp_path / "r.html").page
    drawn = [part for s in page.sections for part in s.parts if part.name.startswith("writers-")]
    assert drawn
    for part in drawn:
        bars = part.figure.data[-1]
        sizes = np.abs(np.array(bars.x[:15], dtype=float))
        assert (np.diff(sizes) <= 0).all()
        assert f" {bars.y[0]} " in part.alternative


def test_the_japanese_page_leaves_no_sentence_untranslated(run, tmp_path):
    written = render_report(run, out=tmp_path / "ja.html", language="ja")
    assert written.missing == frozenset()
    html = written.path.read_text(encoding="utf-8")
    assert '<html lang="ja">' in html
    body = re.sub(
        r"<(script|style|pre|code).*?</\1>|<tbody lang=\"en\">.*?</tbody>|<table class=\"sortable.*?</table>"
        r"|<select class=\"choice.*?</select>",  # values of a table's column
        "",
        html,
        flags=re.S,
    )
    words = re.findall(r">([^<]*)<", body)
    english = [w for w in words if len(re.findall(r"\b[a-z]{4,}\b", w)) >= 4 and not re.search(r"[ぁ-んァ-ヶ一-龠]", w)]
    assert english == []


def test_the_english_report_is_the_default_and_stays_the_same(run, tmp_path):
    first = write_report(run, out=tmp_path / "a.html").read_bytes()
    render_report(run, out=tmp_path / "ja.html", language="ja")
    assert write_report(run, out=tmp_path / "b.html", language="en").read_bytes() == first


def test_an_aligned_folder_that_is_none_is_an_error(run, tmp_path):
    with pytest.raises(EmotionCircuitsError, match="holds no comparison of two models"):
        render_report(run, out=tmp_path / "a.html", aligned=tmp_path)


@browser
def test_the_command_writes_page_pdf_figures_and_tables(run, tmp_path):
    arguments = ["report", str(run), "--out", str(tmp_path / "r.html"), "--lang", "ja", "--json"]
    arguments += ["--pdf", str(tmp_path / "r.pdf"), "--figures", str(tmp_path / "files")]
    done = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)
    assert (tmp_path / "r.pdf").read_bytes().startswith(b"%PDF")
    assert {p.rsplit(".")[-1] for p in done["figures"]} == {"svg", "png"}
    for name in done["figures"]:
        data = open(name, "rb").read()  # noqa: PTH123, SIM115
        assert data.startswith(b"\x89PNG") or b"<svg" in data[:200]
        # Three pixels per CSS pixel.
        assert not data.startswith(b"\x89PNG") or int.from_bytes(data[16:20], "big") >= 2280
    frames = {p: pd.read_parquet(p) for p in done["tables"] if p.endswith(".parquet")}
    assert len(frames) == len(done["tables"]) / 2
    for name, frame in frames.items():
        assert len(pd.read_csv(name.replace(".parquet", ".csv"))) == len(frame)
    # The columns of a table are data, and stay as they are in every language.
    assert "difference_low" in frames[str(tmp_path / "files" / "reader.parquet")]


def test_without_a_browser_nothing_is_written(run, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOTION_CIRCUITS_CHROMIUM", "no-such-browser")
    arguments = ["report", str(run), "--out", str(tmp_path / "r.html"), "--pdf", str(tmp_path / "r.pdf")]
    with pytest.raises(EmotionCircuitsError, match="Install one"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert list(tmp_path.iterdir()) == []


VIEWS = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "narrow": {"viewport": {"width": 380, "height": 900}, "is_mobile": True},
}


@browser
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_the_whole_page_works_in_a_browser(run, tmp_path, view):
    path = write_report(run, out=tmp_path / "r.html")
    with open_page(path, **view) as tab:
        # Read and used before anything is drawn.
        assert int(tab.evaluate("document.documentElement.dataset.ready")) < 2000
        drawn = tab.evaluate("drawAll().then(() => document.querySelectorAll('.plot .main-svg').length)")
        assert drawn > 0
        assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        # Nothing of an answer's texts is hidden at the side.
        assert tab.locator("table.few").count() == 1
        assert tab.evaluate("(t => t.scrollWidth <= t.parentElement.clientWidth)(document.querySelector('table.few'))")
        assert errors(tab) == []
        # Each picture has words, each table a caption and headings with a scope, each id is there once.
        assert tab.evaluate(
            "[...document.querySelectorAll('.plot')].every(p => p.getAttribute('aria-label').length > 20)"
        )
        assert tab.evaluate("[...document.querySelectorAll('th')].every(t => t.scope)")
        assert tab.evaluate("[...document.querySelectorAll('table.sortable')].every(t => t.caption.textContent.trim())")
        assert (
            tab.evaluate(
                "(() => { const ids = [...document.querySelectorAll('body [id]')].map(e => e.id)"
                "    .filter(i => !i.match(/^(clip|g|leg|cb|trace)/));"
                " return ids.length - new Set(ids).size; })()"
            )
            == 0
        )


@browser
def test_a_click_in_a_figure_and_the_list_open_what_is_known(run, tmp_path):
    path = write_report(run, out=tmp_path / "r.html")
    looks = pd.read_parquet(run / "trace" / "attention.parquet")
    with open_page(path) as tab:
        assert tab.evaluate("drawAll().then(() => true)")
        # The middle of the panel of heads is a head; its sheet has the figures of the run's table.
        tab.locator("#plot-attention").scroll_into_view_if_needed()
        box = tab.locator("#plot-attention .nsewdrag").first.bounding_box()
        tab.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 3)
        tab.mouse.click(box["x"] + box["width"] / 3, box["y"] + box["height"] / 3)
        tab.locator("dialog[open]").wait_for()
        name = tab.locator("#sheet-title").text_content()
        assert re.fullmatch(r"L\d+H\d+", name)
        own = looks[
            (looks["split"] == "test") & ("L" + looks["layer"].astype(str) + "H" + looks["head"].astype(str) == name)
        ]
        shown = tab.locator(".known table").first.text_content()
        assert shown.count("attends to emotion words") == len(own) == 3
        # From the head to its layer, and out by the keyboard.
        tab.locator(".see button").first.click()
        assert tab.locator("#sheet-title").text_content() == f"layer {name[1 : name.index('H')]}"
        assert "core" in tab.locator(".known").text_content()
        tab.keyboard.press("Escape")
        assert not tab.evaluate("document.querySelector('dialog').open")
        kinds = tab.evaluate("[...document.querySelectorAll('.closer optgroup')].map(g => g.label)")
        assert len(set(kinds)) == len(kinds)
        assert kinds[0] == "layers"
        assert [k for k in kinds if k.startswith("tokens of")]
        tab.locator(".closer select").select_option("T1")
        assert "Who writes" in tab.locator(".known").text_content()
        assert errors(tab) == []


@browser
def test_steered_texts_are_looked_through_by_arm_opening_and_label(run, tmp_path):
    path = write_report(run, out=tmp_path / "r.html")
    texts = pd.read_parquet(run / "steering" / "test.parquet")
    rows = "[...document.querySelectorAll('#every-text tbody tr')].filter(r => !r.hidden)"
    with open_page(path) as tab:
        tab.evaluate("document.getElementById('every-text').closest('details').open = true")
        arm, opening, label = tab.locator("#every-text").locator("xpath=../../div[@class='tools']//select").all()
        every = tab.evaluate(f"{rows}.length")
        arm.select_option("gratitude: steered")
        steered = texts[(texts["kind"] == "emotion") & (texts["emotion"] == "gratitude")]
        assert not steered["finished"].all()
        read = [t if done or not t else f"{t} …" for t, done in zip(steered["text"], steered["finished"], strict=True)]
        assert tab.evaluate(f"{rows}.map(r => r.cells[2].textContent)") == read
        prompt = steered["prompt"].iloc[2]
        opening.select_option(prompt)
        assert tab.evaluate(f"{rows}.length") == (steered["prompt"] == prompt).sum() < len(steered)
        opening.select_option("all")
        found = steered["emotion_label"].iloc[0]
        label.select_option(found)
        assert tab.evaluate(f"{rows}.length") == (steered["emotion_label"] == found).sum()
        arm.select_option("all")
        label.select_option("all")
        assert tab.evaluate(f"{rows}.length") == every > len(steered)


def test_a_sheet_that_could_end_its_script_is_text(tmp_path):
    sheet = Sheet("L0H0", "heads", "</script><b>", (("A table", ("what",), (("</script>",),)),), ("L9H9",))
    parts = (Sheets("sheets", "Look", "Closer.", (sheet,)), Figure("f", "F", "C", go.Figure(), sheet="{y}"))
    write_page(page(parts=parts), tmp_path / "p.html")
    html = (tmp_path / "p.html").read_text(encoding="utf-8")
    data = html.split('id="sheets-data">')[1].split("</script>")[0]
    assert json.loads(data)[0]["title"] == "</script><b>"
    assert 'data-sheet="{y}"' in html
    # Without a list there is nothing to open, and no figure says that there is.
    write_page(page(parts=parts[1:]), tmp_path / "q.html")
    alone = (tmp_path / "q.html").read_text(encoding="utf-8")
    assert "data-sheet=" not in alone.split("<script")[0]
    assert "A click on a mark" not in alone


def test_heatmaps_keep_the_order_of_layers_and_one_collapse_does_not_hide_the_rest():
    grid = pd.DataFrame(
        [(e, f"L{n}", a) for e in ("gratitude", "anger") for n in (3, 9, 11) for a in (0.1, 0.4)],
        columns=["emotion", "layer", "alpha"],
    )
    grid = grid.assign(ratio=[1.0, 55.0] * 6, change_low=0.1, change_high=0.2)
    for trace in steering_heatmaps(grid, "ratio", title="t", diverging=False).data:
        assert list(trace.y) == ["L3", "L9", "L11"]
        assert list(trace.x) == ["0.1", "0.4"]
        assert trace.zmax == 3


def test_a_study_of_extended_size_stays_within_15_megabytes(tmp_path):
    """48 layers, 21 strengths, three emotions; tables of every part and extractor; 400 claims."""
    rng = np.random.default_rng(0)
    layers, alphas, emotions = range(48), np.linspace(-2, 2, 21), ("gratitude", "anger", "apology")
    grid = pd.DataFrame(
        [(e, layer, a) for e in emotions for layer in layers for a in alphas], columns=["emotion", "layer", "alpha"]
    )
    grid = grid.assign(effect=rng.normal(size=len(grid)))
    grid = grid.assign(change_low=grid["effect"] - 1, change_high=grid["effect"] + 1)
    long = pd.DataFrame(rng.normal(size=(3 * 48 * 26, 12)), columns=[f"column_{i}" for i in range(12)])
    lines = go.Figure([go.Scatter(x=np.arange(48), y=rng.normal(size=48)) for _ in range(60)])
    parts = [Figure(f"grid-{i}", "G", "C", steering_heatmaps(grid, "effect", title="t")) for i in range(4)]
    parts += [Figure(f"lines-{i}", "L", "C", lines) for i in range(30)]
    parts += [Table(f"table-{i}", "T", "C", long, folded=True) for i in range(4)]
    claims = tell([claim(id=f"steering.gratitude.share{i}") for i in range(400)], KINDS)
    write_page(page(sections=(Section("s", "S", (), claims, tuple(parts)),)), tmp_path / "big.html")
    size = (tmp_path / "big.html").stat().st_size
    assert 5_000_000 < size < 15_000_000


def test_blind_labels_correct_the_shares_of_a_finished_run(run, tmp_path):
    sample, call = tmp_path / "sample.jsonl", CliRunner().invoke
    early = call(app, ["evaluate", "blind", str(run), str(sample)])
    assert "no blind sample was drawn" in str(early.exception)
    drawn = call(app, ["evaluate", "blind", str(run), "--out", str(sample), "--openings", "8", "--json"])
    rows = [json.loads(line) for line in sample.read_text(encoding="utf-8").splitlines()]
    assert (
        json.loads(drawn.stdout)["texts"] == len(rows) == 8 * 10
    )  # none, three chosen conditions, six ways of prompting
    other = call(
        app, ["evaluate", "blind", str(run), "--out", str(tmp_path / "b.jsonl"), "--seed", "1", "--openings", "8"]
    )
    assert "another sample was drawn before" in str(other.exception)
    open_ = call(app, ["evaluate", "blind", str(run), str(sample)])
    assert "no row has a label" in str(open_.exception)
    labelled = [{**row, "label": "anger" if number % 4 == 0 else "neutral"} for number, row in enumerate(rows)]
    sample.write_text("".join(json.dumps(row) + "\n" for row in labelled), encoding="utf-8")
    shares = json.loads(call(app, ["evaluate", "blind", str(run), str(sample), "--json"]).stdout)["shares"]
    assert {row["kind"] for row in shares} == {"none", "emotion", "prompting"}
    assert all(row["low"] <= row["share"] <= row["high"] and row["labelled"] == 8 for row in shares)
    assert 'id="labelled"' in render_report(run, out=tmp_path / "r.html").path.read_text(encoding="utf-8")


def test_the_page_shows_which_tokens_make_the_effect(run, tmp_path):
    tokens = pd.read_parquet(run / "steering" / "tokens.parquet")
    assert set(tokens["tokens"]) == {"both", "rest only", "first token only"}
    html = render_report(run, out=tmp_path / "ja.html", language="ja").path.read_text(encoding="utf-8")
    assert 'id="steering-tokens"' in html
    assert "先頭のみ" in html


def test_methods_come_from_the_runs_own_settings_in_either_language(run):
    manifest = read_finished(run)
    told = "\n".join(methods(run, manifest))
    for said in (
        "680 sentences in 170 groups",
        "2 repetitions on labels",
        "8 other openings",
        "up to 6 tokens",
        "0.2 (6 at",
    ):
        assert said in told
    with speaking("ja") as spoken:
        japanese = "\n".join(methods(run, manifest))
    assert spoken.missing == set()
    assert set(cited_in(japanese)) == set(cited_in(told))
    assert "170グループ680文" in japanese


@browser
def test_a_paper_holds_every_claim_every_figure_and_what_it_cites(run, tmp_path):
    written = render_report(run, out=tmp_path / "r.html")
    files = write_paper(run, written, tmp_path / "paper")
    assert files[0] == tmp_path / "paper" / "paper.tex"
    source = files[0].read_text(encoding="utf-8")
    for kind, folder in (("includegraphics[^{]*", "figures"), ("input", "tables")):
        named = re.findall(rf"\\{kind}{{({folder}/[^}}]+)}}", source)
        assert {name.removesuffix(".pdf").removesuffix(".tex") for name in named} == {
            f"{folder}/{file.stem}" for file in (tmp_path / "paper" / folder).iterdir()
        }
    assert all(file.read_bytes().startswith(b"%PDF") for file in files if file.suffix == ".pdf")
    rows = sum(file.read_text(encoding="utf-8").count(r"\\[2pt]") for file in files if file.parent.name == "tables")
    assert rows == len(read_claims(run))
    bibliography = (tmp_path / "paper" / "references.bib").read_text(encoding="utf-8")
    cited = re.findall(r"\\cite{([^}]+)}", (tmp_path / "paper" / "methods.tex").read_text(encoding="utf-8"))
    assert {key for keys in cited for key in keys.split(",")} == set(re.findall(r"^@\w+{([^,]+),", bibliography, re.M))


needs_latex = pytest.mark.skipif(
    not all(map(shutil.which, ("latexmk", "lualatex"))), reason="there is no latexmk, or no LuaLaTeX"
)


@pytest.mark.slow
@browser
@needs_latex
@pytest.mark.parametrize("language", ["en", "ja"])
def test_latexmk_compiles_a_paper_as_it_is(run, tmp_path, language):
    if language == "ja" and not subprocess.run(["kpsewhich", "ltjsarticle.cls"], capture_output=True).stdout:
        pytest.skip("there is no LuaTeX-ja (ltjsarticle.cls)")
    write_paper(run, render_report(run, out=tmp_path / "r.html", language=language), tmp_path / "paper")
    done = subprocess.run(
        ["latexmk", "-interaction=nonstopmode", "-halt-on-error"],
        cwd=tmp_path / "paper",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "paper" / "paper.log").read_text(encoding="utf-8", errors="replace")
    assert "Missing character" not in log
    assert "undefined" not in log.lower()
    assert (tmp_path / "paper" / "paper.pdf").read_bytes().startswith(b"%PDF")
