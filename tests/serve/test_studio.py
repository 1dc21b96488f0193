"""The studio as a person meets it: a real server, a real Chromium, a tiny model that writes markup."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from emotion_circuits.catalogues import LANGUAGES
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import load_model
from emotion_circuits.page.browser import chromium, opened
from emotion_circuits.serve.wording import WORDS
from serve_cases import FIRST, LAYER, serving, tiny_run
from translated import ROOT, SOURCE

KEY = "a-key-of-the-tests"
CHAIN = "<script>"
HOSTILE = "<img src=x onerror=boom()>"
FILES = SOURCE / "serve" / "studio"


def has_browser():
    try:
        return bool(chromium())
    except EmotionCircuitsError:
        return False


pytestmark = pytest.mark.skipif(not has_browser(), reason="there is no Playwright, or neither Chromium nor Chrome")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    run = tiny_run(tmp_path_factory.mktemp("studio"), chain=CHAIN, words={"en": {"apology": HOSTILE}})
    model = load_model(str(run.parent / "tiny-chat"))
    model.__dict__["eos_ids"] = ()  # it never ends a text
    return model, run


@pytest.fixture(scope="module")
def at(made):
    with serving(*made) as (service, port):
        yield service, port


@pytest.fixture(scope="module")
def browser():
    with opened(timeout=900) as found:
        yield found


@pytest.fixture
def visit(browser, at):
    """Opens pages in a context of their own; whatever they broke is told at the end."""
    contexts, errors, hosts = [], [], set()

    def go(port=at[1], *, expected=(), **view):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "accept_downloads": True, **view})
        contexts.append(context)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        context.add_init_script(
            "addEventListener('securitypolicyviolation', e => console.error('CSP ' + e.violatedDirective))"
        )
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on(
            "console",
            lambda m: (
                errors.append(m.text)
                if m.type == "error" and not re.search("|".join(expected) or "$^", m.text)
                else None
            ),
        )
        page.on("pageerror", lambda e: errors.append(e.message))
        page.on("dialog", lambda d: d.accept() if "Delete" in d.message else errors.append(d.message))
        page.on("request", lambda r: hosts.add(re.sub(r"^blob:", "", r.url).split("/")[2]))
        page.goto(f"http://127.0.0.1:{port}/")
        return page

    yield go
    for context in contexts:
        context.close()
    assert errors == []
    assert all(host.startswith("127.0.0.1:") for host in hosts if host), hosts


def asked(port, path, body=None, headers=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **(headers or {})}
    with urllib.request.urlopen(
        urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers), timeout=120
    ) as answer:
        return json.load(answer)


def ready(page):
    page.wait_for_selector("#values .curve")
    return page


def slide(page, value, dose):
    page.locator("#values input[type=range]").nth(value).fill(str(dose))


def write(page, prompt, *, tokens=12, temperature=0):
    page.evaluate("document.getElementById('options').open = true")
    page.fill("#max-tokens", str(tokens))
    page.fill("#temperature", str(temperature))
    page.fill("#prompt", prompt)
    page.click("#go")
    page.wait_for_selector("#go:not([disabled])")
    return page.locator(".round").first


def saved(page, selector):
    with page.expect_download() as download:
        page.click(selector)
    return download.value.path().read_text(encoding="utf-8")


# -- a visit -----------------------------------------------------------------------------------------------------------


def test_both_answers_stream_at_once_and_say_what_was_done(visit, at):
    _, port = at
    page = ready(visit())
    assert page.url.endswith("/studio")
    events = []
    for what in ("request", "requestfinished"):
        page.on(what, lambda r, what=what: events.append((what, r.post_data)) if r.method == "POST" else None)
    slide(page, 0, 0.5)
    round_ = write(page, "It rains again", tokens=200)
    bodies = [json.loads(data) for what, data in events if what == "request"]
    assert [what for what, _ in events][:2] == ["request", "request"]
    assert [body.pop("steering", None) for body in bodies] == [None, {"gratitude": 0.5}]
    assert bodies[0] == bodies[1] == {
        "model": "tiny-chat", "prompt": "It rains again", "max_tokens": 200, "temperature": 0, "top_p": 1, "seed": 1,
        "readings": True, "stream": True,
    }  # fmt: skip
    sides = round_.locator(".side .text").all_text_contents()
    for text, steering in zip(sides, ({}, {"gratitude": 0.5}), strict=True):
        answer = asked(port, "/v1/completions", {**bodies[0], "stream": False, "steering": steering})
        assert text == answer["choices"][0]["text"]
    assert sides[0] != sides[1]
    proof = round_.locator(".proof").inner_text()
    (touched,) = answer["steering"]["choices"][0]["touched"]
    assert f"gratitude, layer {LAYER}: {touched['tokens']} tokens pushed" in proof
    assert f"→ {touched['projection_after']:.2f} residual norms" in proof
    # The run's own dose: its effect and cost are shown, and nothing leaves what was measured.
    assert "gratitude at dose 0.50: share of texts classed as the value changes by 0.25 [0.10, 0.40]" in proof
    assert "perplexity ratio 1.10 [1.00, 1.20]" in proof
    assert "Where this answer leaves" not in proof
    slide(page, 0, 1)
    assert "measured at dose 0.5, not at this one" in write(page, "It rains").locator(".proof .warn").inner_text()


def test_readings_colour_tokens_by_the_value_that_is_chosen(visit):
    page = ready(visit())
    round_ = write(page, "It rains again", tokens=30)
    rows = round_.locator("table").first.evaluate(
        "t => [...t.tBodies[0].rows].map(r => [...r.cells].map(c => c.textContent))"
    )
    tokens = round_.locator(".text").first.locator(".token")
    assert [row[0] for row in rows] == tokens.all_text_contents()
    for column, value in enumerate(("gratitude", "apology", "anger"), 1):
        page.select_option("#colour-by", value)
        beyond = [float(row[column].replace("−", "-")) > 0 for row in rows]
        assert any(beyond)
        assert [("read" in (c or "").split()) for c in tokens.evaluate_all("e => e.map(x => x.className)")] == beyond
    much = tokens.evaluate_all("e => e.filter(x => x.matches('.read')).map(x => getComputedStyle(x).backgroundColor)")
    assert len(set(much)) > 1
    assert page.locator("#legend").inner_text().count("0 –") == 1
    page.uncheck("#readings")
    assert write(page, "Off").locator(".token").count() == 0


def test_a_chat_goes_on_from_each_side_s_own_answers(visit, at):
    page = ready(visit())
    page.check("#mode-chat")
    slide(page, 0, 1)
    first = write(page, "Why?").locator(".text").all_text_contents()
    bodies = []
    page.on("request", lambda r: bodies.append(json.loads(r.post_data)) if r.method == "POST" else None)
    round_ = write(page, "And?")
    assert "tokens of the chat template were left alone" in round_.locator(".proof").inner_text()
    assert "on chat" in round_.locator(".proof .warn").inner_text()
    assert [body["messages"][1] for body in bodies] == [{"role": "assistant", "content": text} for text in first]
    page.click("#anew")
    bodies.clear()
    write(page, "Anew")
    assert [len(body["messages"]) for body in bodies] == [1, 1]


def test_a_blind_preference_is_kept_and_handed_out(visit):
    page = ready(visit())
    page.check("#blind")
    write(page, "It rains")
    assert "needs a dose" in page.inner_text("#status")
    slide(page, 0, 1)
    shown_first, firsts = [], []
    for place in range(4):
        round_ = write(page, "=1+1, it rains")
        said = round_.inner_text()
        assert "Answer A" in said
        assert not re.search("without steering|steered|pushed", said, re.I)
        assert round_.locator(".read, .steered, .proof, table").count() == 0
        firsts.append(round_.locator(".text").first.inner_text())
        assert len(json.loads(page.evaluate("localStorage['emotion-circuits.history'] ?? '[]'"))) == place
        round_.get_by_role("button", name="A is better").click()
        assert round_.locator(".side").count() == 2
        assert round_.locator(".verdict").is_hidden()
        shown_first.append(
            "steered" if round_.locator(".side.steered").first.evaluate("e => !e.previousElementSibling") else "base"
        )
        assert {"steered": "the steered answer", "base": "the answer without"}[shown_first[-1]] in round_.locator(
            ".preferred"
        ).inner_text()
    rows = json.loads(saved(page, "#preferences-json"))
    assert [row["shown_first"] for row in rows] == [row["preferred"] for row in rows] == shown_first
    assert [row[row["shown_first"]] for row in rows] == firsts
    table = list(csv.DictReader(io.StringIO(saved(page, "#preferences-csv"))))
    assert [row["preferred"] for row in table] == shown_first
    assert json.loads(table[0]["steering"]) == {"gratitude": 1}
    assert table[0]["prompt"] == "'=1+1, it rains"  # a spreadsheet computes nothing of it
    assert rows[0]["prompt"] == "=1+1, it rains"
    assert "4 given" in page.inner_text("#tally")
    page.reload()
    assert "4 given" in ready(page).inner_text("#tally")
    assert page.locator("#history > li").count() == 4
    page.click("#preferences-drop")
    assert "0 given" in page.inner_text("#tally")


def test_the_order_of_a_blind_round_is_drawn_anew_each_time(visit):
    page = ready(visit())
    drawn = page.evaluate(
        """async () => {
          const { Round } = await import('/studio/rounds.js');
          const setting = { blind: true, steering: {}, mode: 'continue', prompt: 'x' };
          return Array.from({ length: 200 }, (_, i) => new Round(i, setting, { values: [] }, () => {}).order[0]);
        }"""
    )
    assert 60 < drawn.count("steered") < 140


def test_a_setting_runs_elsewhere_as_it_is_handed_out(visit, at, tmp_path):
    service, port = at
    page = ready(visit())
    slide(page, 0, 0.4)
    prompt = """It's a "test" $HOME `id` \\ 100%"""
    text = write(page, prompt).locator(".side.steered .text").inner_text()
    page.click("#elsewhere summary")
    page.select_option("#form", "curl")
    page.click("#copy")
    command = page.evaluate("navigator.clipboard.readText()")
    assert command == page.inner_text("#exported")
    done = subprocess.run(["bash", "-c", command + " -s"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["choices"][0]["text"] == text
    page.select_option("#form", "json")
    assert asked(port, "/v1/completions", json.loads(saved(page, "#download")))["choices"][0]["text"] == text
    page.select_option("#form", "python")
    (tmp_path / "setting.py").write_text(saved(page, "#download"), encoding="utf-8")
    done = subprocess.run([sys.executable, tmp_path / "setting.py"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(text)
    page.select_option("#form", "vector")
    commands = [line for line in page.inner_text("#exported").splitlines() if line and not line.startswith("#")]
    # The exported vector has the strength that the run chose, at dose 0.5.
    assert commands == [
        f"emotion-circuits export {service.served.runs[0].run} --emotion gratitude --to llama.cpp --out gratitude.gguf",
        "llama-server -m MODEL.gguf --control-vector-scaled gratitude.gguf:0.8",
        f"emotion-circuits export {service.served.runs[0].run} --emotion gratitude --to safetensors --out gratitude.safetensors",
        "emotion-circuits steer --vector gratitude.safetensors --scale=0.8 -- '" + prompt.replace("'", "'\\''") + "'",
    ]


def test_presets_and_history_bring_a_setting_back(visit):
    page = ready(visit())
    slide(page, 0, 0.35)
    slide(page, 1, 0.6)
    page.fill("#preset-name", "<b>mine</b>")
    page.click("#preset-form button")
    write(page, "It rains", tokens=5)
    page.click("#zero")
    page.reload()
    ready(page)
    figures = page.locator("#values input[type=number]")

    def doses():
        return figures.evaluate_all("e => e.map(x => x.valueAsNumber)")

    assert doses() == [0, 0]
    page.select_option("#preset", label="<b>mine</b>")
    page.click("#preset-use")
    assert doses() == [0.35, 0.6]
    page.select_option("#preset", label="gratitude, the run's choice")
    page.click("#preset-use")
    assert doses() == [0.5, 0]
    page.click("#history summary")
    page.click("#history button")
    assert doses() == [0.35, 0.6]
    assert (page.input_value("#prompt"), page.input_value("#max-tokens")) == ("It rains", "5")
    page.select_option("#preset", label="<b>mine</b>")
    page.click("#preset-drop")
    assert "mine" not in page.inner_text("#preset")


@pytest.mark.parametrize(
    "kept", ["{", "7", "null", '{"a": 1}', '[null, 3, {"name": 5}, {"steering": 4, "prompt": {"a": 1}}]']
)
def test_what_this_browser_kept_badly_breaks_nothing(visit, kept):
    page = ready(visit())
    page.evaluate(
        "kept => { for (const what of ['presets', 'history', 'preferences']) localStorage['emotion-circuits.' + what] = kept; }",
        kept,
    )
    page.reload()
    assert write(ready(page), "It rains", tokens=3).locator(".text").count() == 2


def test_beyond_the_validated_range_only_after_a_switch_and_with_a_warning(visit):
    page = ready(visit())
    slider = page.locator("#values input[type=range]").first
    assert (slider.get_attribute("min"), slider.get_attribute("max")) == ("0", "1")
    assert page.locator("#beyond-warning").is_hidden()
    page.check("#beyond")
    assert "vouches for nothing" in page.inner_text("#beyond-warning")
    slide(page, 0, -0.5)
    assert page.locator("#values .warn").first.is_visible()
    assert "beyond the validated range" in write(page, "It rains").locator(".proof .warn").inner_text()
    page.uncheck("#beyond")
    assert page.locator("#values input[type=number]").first.input_value() == "0"


def test_curves_are_what_the_run_measured(visit, at):
    page = ready(visit())
    points = asked(at[1], "/v1/steering")["values"][0]["curve"]
    assert [(p["dose"], p["change"], p["within"], p["as_dosed"]) for p in points] == [
        (0.5, 0.125, True, False), (1.0, 0.25, True, True), (1.5, 0.375, False, False),
    ]  # fmt: skip
    curve = page.locator(".curve").first
    assert curve.locator(".dot.effect").count() == 3  # 0, 0.5 and 1
    assert curve.locator(".dot.effect.hollow").count() == 1
    assert (
        "dose 0.50: probability 0.13 [0.025, 0.23], perplexity ratio 1.00 [0.86, 1.20], 36 openings"
        in curve.get_attribute("aria-label")
    )
    heights = [float(y) for y in curve.locator(".dot.effect").evaluate_all("e => e.map(x => x.getAttribute('cy'))")]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2])
    about = page.locator("#about-0")
    assert "nothing is changed" in about.inner_text()
    slide(page, 0, 0.6)
    assert "at dose 0.50" in about.inner_text()
    assert f"first token was pushed by {FIRST:.2f}" in about.inner_text()
    mark, dot = (
        curve.locator(what).evaluate(f"e => e.getAttribute('{name}')")
        for what, name in ((".mark", "x1"), ("circle.effect >> nth=1", "cx"))
    )
    assert float(mark) == pytest.approx(float(dot) + 0.1 * 280)
    page.check("#beyond")
    assert page.locator(".curve").first.locator(".arrow").count() == 1  # 1.5 costs more than is drawn
    assert "no dose" in page.locator("#values fieldset").nth(2).inner_text()


# -- stopping, errors, keys --------------------------------------------------------------------------------------------


def idle(service):
    deadline = time.monotonic() + 60
    while service.engine.running and time.monotonic() < deadline:
        time.sleep(0.01)
    return not service.engine.running


def test_escape_stops_both_and_the_server_stops_too(visit, at):
    page = ready(visit())
    page.evaluate("document.getElementById('options').open = true")
    page.fill("#max-tokens", "1000")
    page.fill("#prompt", "It rains")
    written = at[0].engine.tokens_written
    page.press("#prompt", "Control+Enter")
    page.wait_for_selector(".token")
    page.keyboard.press("Escape")
    page.wait_for_selector("#go:not([disabled])")
    assert "Stopped." in page.locator(".round").inner_text()
    assert idle(at[0])
    assert at[0].engine.tokens_written - written < 1900


def test_what_the_server_refuses_is_said_and_nothing_is_kept(visit):
    page = ready(visit(expected=("status of 400",)))
    round_ = write(page, "It rains", tokens=1020)
    assert "context of 1024" in round_.get_by_role("alert").first.inner_text()
    assert "Not both" in page.inner_text("#status")
    assert page.locator("#history > li").count() == 0


def test_a_server_that_is_gone_is_said(visit, made):
    with serving(*made) as (_, port):
        page = ready(visit(port, expected=("ERR_CONNECTION_REFUSED",)))
    assert "does not answer" in write(page, "It rains").get_by_role("alert").first.inner_text()


def test_a_key_is_asked_for_and_stays_in_the_tab(visit, made):
    with serving(*made, key=KEY) as (_, port):
        page = visit(port, expected=("status of 401",))
        page.wait_for_selector("#key-form:visible")
        assert page.locator("#studio").is_hidden()
        assert page.get_attribute("#key", "type") == "password"
        page.fill("#key", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("#key-wrong:visible")
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        write(ready(page), "It rains", tokens=3)
        page.click("#elsewhere summary")
        for form in ("curl", "python", "json", "vector"):
            page.select_option("#form", form)
            assert KEY not in page.inner_text("#exported")
        assert KEY not in page.content()
        assert KEY not in page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href")
        assert KEY in page.evaluate("JSON.stringify(sessionStorage)")
        page.reload()
        ready(page)
        # What is open without a key are the files alone, and these are no run's.
        for path in ("/studio", "/studio/main.js", "/studio/words/ja"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                assert b"gratitude" not in answer.read()
        for path in ("/v1/steering", "/v1/models", "/studioX", "/metrics"):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}")


# -- an attacker's text ------------------------------------------------------------------------------------------------


def test_markup_in_prompts_answers_names_and_presets_stays_text(visit):
    page = ready(visit())
    page.evaluate("window.boom = () => { window.hit = true; }")
    slide(page, 1, 0.1)
    nasty = '<img src=x onerror=boom()><svg onload=boom()>"\'</textarea><a href="javascript:boom()">{dose}</a> <'
    round_ = write(page, nasty, tokens=40)
    written = round_.locator(".side .text").first.inner_text()
    assert written.startswith("script>")
    assert round_.locator(".prompt").inner_text() == nasty
    # The value's name is markup too.
    assert HOSTILE in round_.inner_text()
    assert HOSTILE in page.locator("#values legend").nth(1).inner_text()
    assert f"Dose of {HOSTILE}" == page.locator("#values input[type=range]").nth(1).get_attribute("aria-label")
    page.check("#mode-chat")
    write(page, "<", tokens=20)
    page.fill("#preset-name", nasty[:60])
    page.click("#preset-form button")
    page.reload()
    ready(page)
    page.click("#history summary >> nth=0")
    assert page.evaluate("window.hit") is None
    assert (
        page.locator("img, iframe, object, embed, a[href^='javascript'], #rounds script, #history script").count() == 0
    )
    assert page.locator("script").count() == 1


def test_the_policy_bites(visit):
    """Markup of strings, scripts of a page's own and requests elsewhere are refused by the browser itself."""
    page = ready(visit(expected=("Trusted", "Content Security Policy", "^CSP ")))
    for attempt, refused in (
        ("document.body.innerHTML = '<b>x</b>'", "TrustedHTML"),
        ("Object.assign(document.createElement('script'), { textContent: 'window.hit = 1' })", "TrustedScript"),
        ("setTimeout('window.hit = 1')", "TrustedScript"),
        ("document.body.setAttribute('onclick', 'window.hit = 1')", "TrustedScript"),
        ("fetch('http://127.0.0.2:9/')", "Failed to fetch|Content Security"),
    ):
        said = page.evaluate(
            f"(async () => {{ try {{ await ({attempt}); return 'done'; }} catch (e) {{ return String(e); }} }})()"
        )
        assert re.search(refused, said), (attempt, said)
    page.evaluate(
        "() => { const s = document.createElement('style'); s.textContent = 'body { display: none }'; document.head.append(s); }"
    )
    assert page.locator("body").is_visible()
    page.evaluate("() => { const f = document.createElement('iframe'); f.src = '/studio'; document.body.append(f); }")
    page.frames[1].wait_for_url("chrome-error://**")
    assert page.frames[1].url.startswith("chrome-error:")  # it is shown in no frame, its own neither


def test_files_are_those_of_the_studio_and_bear_the_policy(at):
    port = at[1]
    for name in ("", "/main.js", "/studio.css"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/studio{name}") as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    for path in (
        "../pages.py",
        "..%2fpages.py",
        "%2e%2e/app.py",
        "index.htm",
        "words/..%2fja",
        ".",
    ):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/studio/{path}")
    page = (FILES / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"\son\w+=|style=|<style|<script(?! type=\"module\" src)", page)
    for file in FILES.glob("*.js"):
        script = file.read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|setAttribute\(\"(style|on)", script
        ), file.name


# -- for everybody -----------------------------------------------------------------------------------------------------


def test_by_keyboard_alone(visit):
    page = ready(visit())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    reached = set()
    for _ in range(60):
        reached.add(
            page.evaluate("document.activeElement.id || document.activeElement.type || document.activeElement.tagName")
        )
        page.keyboard.press("Tab")
    assert {"readings", "blind", "go", "range", "number", "beyond", "zero", "preset", "preset-name"} <= reached
    page.focus("#prompt")
    page.keyboard.type("It rains")
    slider = page.locator("#values input[type=range]").first
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "dose 0.20"
    page.focus("#blind")
    page.keyboard.press("Space")
    page.focus("#prompt")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".verdict:visible")
    page.locator(".verdict button").nth(1).focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.className") == "preferred"


def test_everything_that_is_operated_has_a_name_and_texts_are_announced(visit):
    page = ready(visit())
    slide(page, 0, 0.5)
    write(page, "It rains")
    for detail in page.locator("details").all():
        detail.evaluate("e => { e.open = true; }")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('input, select, textarea, button, summary, [role=region], [role=img]')]
          .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() && !e.matches('select, textarea') ||
            [...(e.labels ?? [])].some((l) => l.textContent.trim()))).map((e) => e.outerHTML)"""
    )
    assert nameless == []
    texts = page.locator(".side .text")
    assert texts.evaluate_all("e => e.map(x => [x.ariaLive, x.ariaBusy, x.ariaLabel])") == [
        ["polite", "false", "Without steering"], ["polite", "false", "Steered"],
    ]  # fmt: skip
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))


def test_another_language_is_spoken_at_once_and_everywhere(visit):
    page = ready(visit())
    slide(page, 0, 0.4)
    write(page, "It rains")
    page.select_option("#language", "ja")
    page.wait_for_selector("html[lang=ja]")
    assert page.inner_text("#go") == "両方の答えを書く"
    assert "感謝" in page.locator("#values legend").first.inner_text()
    said = page.locator(".round").inner_text()
    assert "ステアリングが働きました" in said
    # The server was asked in English; its next warnings are Japanese.
    assert "測定したもの" in write(page, "It rains").locator(".proof .warn").inner_text()
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    left = page.evaluate(
        "[...document.querySelectorAll('[data-say]')].map((e) => e.textContent).filter((t) => /[A-Za-z]{4,} [a-z]{3,}/.test(t))"
    )
    assert left == []
    assert not re.search(r"\{\w+\}", page.inner_text("main"))
    page.reload()
    assert ready(page).inner_text("#go") == "両方の答えを書く"
    assert ready(visit(locale="ja-JP")).inner_text("#go") == "両方の答えを書く"
    assert ready(visit(locale="xx")).inner_text("#go") == "Write both answers"


def test_light_and_dark(visit):
    paper = "getComputedStyle(document.body).backgroundColor"
    page = ready(visit(color_scheme="dark"))
    assert page.evaluate(paper) == "rgb(20, 24, 31)"
    page.select_option("#theme", "light")
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    page.reload()
    assert ready(page).evaluate(paper) == "rgb(255, 255, 255)"
    page.select_option("#theme", "system")
    assert page.evaluate(paper) == "rgb(20, 24, 31)"


@pytest.mark.parametrize(("width", "code"), [(320, "ja-JP"), (420, "en-US")])
def test_on_a_narrow_screen_nothing_is_cut_off(visit, width, code):
    page = ready(visit(viewport={"width": width, "height": 700}, locale=code))
    slide(page, 0, 0.5)
    write(page, "A" * 300, tokens=60)
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator(".side").first.bounding_box()["width"] > 0.75 * width


# -- what it is made of ------------------------------------------------------------------------------------------------


def test_every_sentence_is_said_and_every_name_has_one():
    page = (FILES / "index.html").read_text(encoding="utf-8")
    scripts = "\n".join(file.read_text(encoding="utf-8") for file in FILES.glob("*.js"))
    in_page = set(re.findall(r'data-say(?:-label)?="([^"]+)"', page))
    in_scripts = set(re.findall(r"[\"`]([a-z][a-z0-9-]*)[\"`]", scripts))
    built = {f"metric-{m}" for m in ("share", "probability", "words", "vader")} | {
        f"side-{k}" for k in ("base", "steered")
    }
    built |= {f"preferred-{k}" for k in ("base", "steered", "tie")} | {"delete-preferences", "delete-history"}
    assert in_page <= set(WORDS)
    assert sorted(set(WORDS) - in_page - in_scripts - built) == []
    calls = set(re.findall(r"\b(?:say|telling\(\"\w+\",|told\([^\"]*?,|status)\(?\s*\"([a-z][a-z0-9-]*)\"", scripts))
    assert sorted(calls - set(WORDS) - {"gap", "value-name", "value-dose", "aria-label"}) == []


def test_the_wheel_holds_the_studio():
    from hatchling.builders.wheel import WheelBuilder

    found = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {f"emotion_circuits/serve/studio/{file.name}" for file in FILES.iterdir()} <= found
    assert "emotion_circuits/serve/studio/index.html" in found


def test_words_are_there_in_every_language(at):
    for code in LANGUAGES:
        answer = asked(at[1], f"/studio/words/{code}")
        assert set(WORDS) < set(answer["words"])
        assert answer["languages"] == list(LANGUAGES)


def test_reading_a_catalogue_holds_up_nobody_s_text(at):
    found = []
    threads = [threading.Thread(target=lambda: found.append(asked(at[1], "/studio/words/ja"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    answer = asked(at[1], "/v1/completions", {"prompt": "It rains", "max_tokens": 3})
    for thread in threads:
        thread.join(60)
    assert answer["choices"][0]["text"]
    assert len(found) == 8
