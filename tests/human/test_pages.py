"""Raters' pages: they tell no condition, fetch nothing, and keep every answer; in a real Chromium and over a real server."""

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter

import numpy as np
import pytest
import yaml

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.human.analysing import analyse
from emotion_circuits.human.designing import Wanted, design_study
from emotion_circuits.human.exporting import export_study
from emotion_circuits.human.material import LANGUAGES, material
from emotion_circuits.human.reading import read_answers
from emotion_circuits.human.records import open_study, read_design
from emotion_circuits.human.serving import links_of, make_app
from emotion_circuits.human.sheet import page_html, write_sheets
from emotion_circuits.human.storing import Store
from emotion_circuits.page.browser import chromium, opened
from emotion_circuits.sealing import read_sealed, write_sealed
from emotion_circuits.serve.guarding import server_of
from human_cases import HOSTILE, text_rows, written_run
from translated import SOURCE

FILES = SOURCE / "human" / "rater"


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    root = tmp_path_factory.mktemp("pages")
    run = written_run(root, text_rows(8))
    design_study(
        run, root / "s", Wanted(raters=8, singles=4, pairs=3, gold=1, attention=1, repeats=1, studies=2, seed=2)
    )
    return root / "s"


@pytest.fixture
def folder(frozen, tmp_path):
    shutil.copytree(frozen, tmp_path / "s")
    return tmp_path / "s"


# -- nothing tells a condition -----------------------------------------------------------------------------------------


def test_pages_are_the_same_with_a_shuffled_key_and_without_one(folder):
    before = {path.name: path.read_bytes() for path in write_sheets(folder)}
    assert len(before) == 8
    key = read_sealed(folder / "key.json", "")
    names, sources = list(key["texts"]), list(key["texts"].values())
    order = np.random.default_rng(0).permutation(len(names))
    write_sealed(folder / "key.json", {**key, "texts": {n: sources[int(i)] for n, i in zip(names, order, strict=True)}})
    assert {path.name: path.read_bytes() for path in write_sheets(folder)} == before
    (folder / "key.json").unlink()
    assert {path.name: path.read_bytes() for path in write_sheets(folder)} == before


def test_nothing_in_a_page_names_a_condition(folder):
    study = open_study(folder)
    conditions = {t.condition for t in study.key.texts.values()} | {t.prompt_id for t in study.key.texts.values()}
    for rater in study.design.forms:
        html = page_html(study.design, rater).replace((FILES / "page.css").read_text(), "")
        for word in (
            *conditions - {"none"},
            "steer",
            "random",
            "unsteered",
            "prompted",
            "gold",
            "repeat",
            "hypothes",
            study.design.key,
        ):
            assert word not in html, word
        data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.S)[1])
        assert {frozenset(i) for i in data["singles"]} == {frozenset({"id", "opening", "texts"})}
        assert {frozenset(i) for i in data["pairs"]} == {frozenset({"id", "opening", "texts", "ask"})}


def test_names_and_places_of_items_tell_no_arm(tmp_path):
    """Over a whole study the arms are spread over places, sides and the order of names."""
    folder = tmp_path / "s"
    study = design_study(
        written_run(tmp_path, text_rows(24)), folder, Wanted(raters=40, singles=14, pairs=12, studies=2)
    )
    places, ranks = {}, {}
    rank = {item: n for n, item in enumerate(sorted(study.design.items))}
    left = Counter()
    for form in study.design.forms.values():
        for n, item in enumerate(form.items):
            secret = study.key.items[item]
            arms = [study.key.texts[t].arm for t in secret.texts]
            if secret.kind == "single":
                places.setdefault(arms[0], []).append(n / len(form.singles))
                ranks.setdefault(arms[0], []).append(rank[item] / len(rank))
            elif secret.kind == "pair" and "steered" in arms:
                left[arms[0] == "steered"] += 1
    for of in (places, ranks):
        assert max(map(np.mean, of.values())) - min(map(np.mean, of.values())) < 0.12
    assert abs(left[True] - left[False]) <= 0.1 * left.total()


def test_a_page_is_bound_to_its_own_script_and_style(folder):
    html = page_html(read_design(folder), "r1")
    assert "default-src 'none'" in html
    assert "connect-src" not in html
    assert "connect-src 'self'" in page_html(read_design(folder), "r1", connects=True)
    assert HOSTILE not in html
    script = (FILES / "page.js").read_text()
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert sink not in script
    with pytest.raises(EmotionCircuitsError, match=r"--rater r99: the study has r1, r2, r3"):
        write_sheets(folder, rater="r99")


def test_both_languages_say_the_same_things():
    words = material()
    assert tuple(words) == LANGUAGES
    assert words["en"].keys() == words["ja"].keys()
    for name, text in words["en"].items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", words["ja"][name])), name
        assert re.search(r"[ぁ-んァ-ヶ一-龠]", words["ja"][name]) or name == "progress", name
    script = (FILES / "page.js").read_text()
    used = set(re.findall(r'say\("([\w-]+)"', script))
    assert used <= words["en"].keys()


# -- a browser ---------------------------------------------------------------------------------------------------------


def has_browser():
    try:
        return bool(chromium())
    except EmotionCircuitsError:
        return False


needs_browser = pytest.mark.skipif(not has_browser(), reason="there is no Playwright, or neither Chromium nor Chrome")


@pytest.fixture(scope="module")
def browser():
    with opened(timeout=900) as found:
        yield found


@pytest.fixture
def visit(browser):
    """Opens pages in contexts of their own; what they broke or asked of elsewhere is told at the end."""
    contexts, errors, urls = [], [], []

    def go(url, *, context=None, expected="$^", **view):
        if context is None:
            context = browser.new_context(
                **{"viewport": {"width": 1000, "height": 900}, "accept_downloads": True, **view}
            )
            contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on(
            "console",
            lambda m: errors.append(m.text) if m.type == "error" and not re.search(expected, m.text) else None,
        )
        page.on("pageerror", lambda e: errors.append(e.message))
        page.on("request", lambda r: urls.append(r.url))
        page.goto(url)
        page.wait_for_selector("#agree, fieldset, #done")
        return page

    yield go
    for context in contexts:
        context.close()
    assert errors == []
    assert all(re.match(r"(file:|data:|blob:|http://127\.0\.0\.1:)", url) for url in urls), urls


def begin(page, language):
    page.select_option("#language", language)
    assert page.evaluate("document.documentElement.lang") == language
    page.check("#agree")
    page.click("#begin")


def answer(page, n, *, keys):
    """Answer what is shown, with keys or by clicking."""
    if page.query_selector("[data-name=choice]"):
        if keys:
            page.keyboard.press(str(n % 3 + 1))
        else:
            page.locator("[data-name=choice] label").nth(n % 3).click()
    elif keys:
        page.keyboard.press(str(n % 3 + 1))
        if n % 3 != 2:
            page.keyboard.press(str(n % 7) if n % 7 else "0")
        page.keyboard.press(str(n % 7 + 1))
    else:
        page.locator("[data-name=emotion] label").nth(n % 3).click()
        if n % 3 != 2:
            page.locator("[data-name=intensity] label").nth(n % 7).click()
        page.locator("[data-name=naturalness] label").nth(n % 7).click()
    if keys:
        page.keyboard.press("Enter")
    else:
        page.click("#next")


def saved(page):
    with page.expect_download() as download:
        page.click("#save")
    return download.value.path().read_text(encoding="utf-8")


@needs_browser
def test_offline_pages_are_filled_in_both_languages_and_analysed(folder, visit):
    design = read_design(folder)
    (folder / "ratings").mkdir()
    for rater, language, keys, width in (("r1", "en", True, 1000), ("r2", "ja", False, 360)):
        (path,) = write_sheets(folder, rater=rater)
        page = visit(path.as_uri(), viewport={"width": width, "height": 800})
        begin(page, language)
        page.click("#next")
        assert page.inner_text("#status") == design.words[language]["unanswered"]
        items = design.forms[rater].items
        for n in range(len(items)):
            if n == 2:  # what is answered is still there after a reload
                page.reload()
                page.wait_for_selector("fieldset")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            answer(page, n, keys=keys)
        page.wait_for_selector("#done")
        text = saved(page)
        (folder / "ratings" / f"{rater}.json").write_text(text, encoding="utf-8")
        found = json.loads(text)
        assert [a["item"] for a in found["answers"]] == list(items)
        assert found["language"] == language
        assert all(a["seconds"] > 0 for a in found["answers"])
    one = {a.rater: a for a in read_answers(folder, design)}["r1"]
    for n, item in enumerate(design.forms["r1"].items):
        if design.items[item].kind == "single":
            options = [*design.values, "none"]
            expected = {"emotion": options[n % 3], "intensity": 0 if n % 3 == 2 else n % 7, "naturalness": n % 7 + 1}
            assert one.answers[item].answer == expected
    assert len(analyse(folder).raters) == 2


@needs_browser
def test_a_file_is_gone_on_from_in_another_browser_and_a_strange_one_is_refused(folder, visit, tmp_path):
    (path,) = write_sheets(folder, rater="r3")
    page = visit(path.as_uri())
    begin(page, "en")
    for n in range(3):
        answer(page, n, keys=True)
    part = tmp_path / "part.json"
    part.write_text(saved(page), encoding="utf-8")
    other = visit(path.as_uri())
    strange = tmp_path / "strange.json"
    strange.write_text(part.read_text().replace('"rater": "r3"', '"rater": "r4"'))
    other.set_input_files("#load", strange)
    other.wait_for_selector("#status.bad")
    other.set_input_files("#load", part)
    other.wait_for_selector("fieldset")
    assert other.get_attribute("#bar", "aria-valuenow") == "3"
    other.keyboard.press("Backspace")
    other.wait_for_selector("fieldset input:checked")


# -- a server ----------------------------------------------------------------------------------------------------------


class Process:
    """``human serve`` as a process of its own, which can be killed."""

    def __init__(self, folder, port):
        self.done = subprocess.Popen(
            [sys.executable, "-m", "emotion_circuits.cli", "human", "serve", str(folder), "--port", str(port), "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ,
        )  # fmt: skip
        text = ""
        while not text.rstrip().endswith("}\n}") and (line := self.done.stdout.readline()):
            text += line
        self.links = json.loads(text)["links"]
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2)
                return
            time.sleep(0.02)

    def kill(self):
        self.done.send_signal(signal.SIGKILL)
        self.done.wait()


@pytest.fixture
def process(folder):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    started = []

    def start():
        started.append(Process(folder, port))
        return started[-1]

    yield start
    for one in started:
        one.done.kill()
        one.done.wait()
        one.done.stdout.close()


def post(url, body, headers=None):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/answers", data, {"Content-Type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=20) as found:
            return found.status, json.load(found)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def body_of(design, item, **changes):
    given = (
        {"emotion": "none", "intensity": 0, "naturalness": 4}
        if design.items[item].kind == "single"
        else {"choice": "tie"}
    )
    return {
        "language": "en",
        "consent": "2026-01-01",
        "item": item,
        "answer": given,
        "seconds": 3.5,
        "at": "2026-01-01",
        **changes,
    }


@needs_browser
def test_kill_and_resume_lose_no_rating(folder, process, visit):
    design = read_design(folder)
    running = process()
    page = visit(running.links["r5"], expected="ERR_CONNECTION|Failed to load")
    begin(page, "ja")
    items = design.forms["r5"].items
    for n in range(3):
        answer(page, n, keys=True)
    page.get_by_text(design.words["ja"]["sent"], exact=True).wait_for()

    running.kill()
    answer(page, 3, keys=True)  # answered while nobody listens
    page.wait_for_selector("#status.bad")
    again = process()
    assert again.links == running.links
    for n in range(4, len(items)):
        answer(page, n, keys=True)
    page.get_by_text(design.words["ja"]["done-sent"], exact=True).wait_for()

    # Another browser knows it all, from the server.
    other = visit(again.links["r5"])
    other.wait_for_selector("#done")
    again.kill()
    (one,) = read_answers(folder, design)
    assert set(one.answers) == set(items)
    assert one.language == "ja"
    with sqlite3.connect(folder / "ratings.sqlite") as store:
        assert store.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store.execute("SELECT COUNT(*) FROM log").fetchone()[0] >= len(items)


def test_what_was_acknowledged_survives_kills_in_the_middle_of_it(folder, process):
    design = read_design(folder)
    kept = set()
    for turn in range(2):
        running = process()

        def rate(rater, running=running):
            for item in design.forms[rater].items:
                with contextlib.suppress(OSError, urllib.error.URLError):
                    status, found = post(running.links[rater], body_of(design, item))
                    if status == 200:
                        kept.add((rater, found["kept"]))

        threads = [
            threading.Thread(target=rate, args=(rater,)) for rater in list(design.forms)[turn * 4 : turn * 4 + 4]
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 30
        while sum(rater in list(design.forms)[turn * 4 :] for rater, _ in kept) < 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        running.kill()
        for thread in threads:
            thread.join()
    found = {(one.rater, item) for one in read_answers(folder, design) for item in one.answers}
    assert len(kept) >= 8
    assert kept <= found


@pytest.fixture
def links(folder):
    """Of a server in this process."""
    design = read_design(folder)
    own = links_of(folder, design)
    with Store(folder, design) as store, socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        made = server_of(make_app(design, store, own), host="127.0.0.1", port=0)
        thread = threading.Thread(target=made.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        while not made.started:
            time.sleep(0.005)
        yield {rater: f"http://127.0.0.1:{sock.getsockname()[1]}/r/{link}" for rater, link in own.items()}
        made.should_exit = True
        thread.join(20)


def test_the_server_takes_what_the_study_has_and_nothing_else(folder, links):
    design = read_design(folder)
    assert len({link.rsplit("/", 1)[1] for link in links.values()}) == 8
    assert (folder / "links.json").stat().st_mode & 0o777 == 0o600
    item, strange = (
        design.forms["r1"].items[0],
        next(i for i in design.forms["r2"].items if i not in design.forms["r1"].items),
    )
    assert post(links["r1"], body_of(design, item)) == (200, {"kept": item})
    for body, status in (
        (body_of(design, strange), 400),
        (body_of(design, item, answer={"emotion": "joy", "intensity": 0, "naturalness": 4}), 400),
        (body_of(design, item, seconds=-1), 400),
        (body_of(design, item, consent=""), 400),
        (body_of(design, item, more=1), 400),
        (b"{", 400),
        (b" " * 70_000, 413),
    ):
        assert post(links["r1"], body)[0] == status
    assert post(links["r1"], body_of(design, item), {"Content-Type": "text/plain"})[0] == 415
    assert post(links["r1"], body_of(design, item), {"Origin": "http://evil.example"})[0] == 403
    assert post(links["r1"][:-1] + "x", body_of(design, item))[0] == 404
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(links["r1"], headers={"Host": "evil.example"}))
    with urllib.request.urlopen(links["r1"]) as page:
        assert page.headers["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        assert page.read().decode() == page_html(design, "r1", connects=True)
    with urllib.request.urlopen(f"{links['r1']}/answers") as found:
        (one,) = json.load(found)["answers"]
    assert one["item"] == item


# -- other programs ----------------------------------------------------------------------------------------------------


def test_tables_hold_all_items_and_ratings_and_no_condition(folder, tmp_path):
    design = read_design(folder)
    given = body_of(design, design.forms["r1"].items[0])
    answers = [{k: given[k] for k in ("item", "answer", "seconds", "at")}]
    (folder / "ratings").mkdir()
    file = {"format": 1, "study": design.name, "rater": "r1", "language": "en", "consent": "x", "answers": answers}
    (folder / "ratings" / "r1.json").write_text(json.dumps(file))
    (folder / "key.json").unlink()
    made = {path.name: path for path in export_study(folder, "csv", tmp_path / "t")}
    with made["items.csv"].open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {r["item"] for r in rows} == set(design.items)
    with made["ratings.csv"].open(encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["rater"], row["emotion"], row["naturalness"]) == ("r1", "none", "4")
    assert "steered" not in "".join(path.read_text() for path in made.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_potato_gets_a_project_of_texts_and_one_of_pairs(folder, tmp_path, language):
    design = read_design(folder)
    made = {
        path.name: path.read_text(encoding="utf-8")
        for path in export_study(folder, "potato", tmp_path / "p", language=language)
    }
    seen = set()
    for name in ("singles", "pairs"):
        config = yaml.safe_load(made[f"{name}.yaml"])
        assert config["data_files"] == [f"{name}.jsonl"]
        rows = [json.loads(line) for line in made[f"{name}.jsonl"].splitlines()]
        assert all({"id", "text"} <= set(row) for row in rows)
        seen |= {row["id"] for row in rows}
        assert set(json.loads(made[f"{name}-forms.json"])) == set(design.forms)
    assert seen == set(design.items)
