"""The site builds without a warning, fetches nothing, and names only commands that exist."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))

from hooks import API, cli_page, command_tree, findings_page, pages, settings_page, write_plain  # noqa: E402

from emotion_circuits.errors import EmotionCircuitsError  # noqa: E402
from emotion_circuits.page.browser import chromium, open_page  # noqa: E402

PAGES = [ROOT / "README.md", ROOT / "README.ja.md", *sorted((ROOT / "docs").rglob("*.md"))]


# Once, because a build takes a quarter of a minute.
@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(place)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return place


def test_the_site_builds_strictly_fetches_nothing_and_documents_every_public_name(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 35
    for page in pages:
        fetched = re.findall(
            r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"?https?://[^\">]+", page.read_text("utf-8")
        )
        assert not [f for f in fetched if 'rel="canonical"' not in f], page
    for package in API:
        text = (site / "reference" / "api" / f"{package}.html").read_text("utf-8")
        for name in importlib.import_module(f"emotion_circuits.{package}").__all__:
            documented = re.search(rf'id="emotion_circuits\.[\w.]*\b{name}"', text) or f">{name}<" in text
            assert documented, f"{package}.{name}"


def test_search_works_in_a_page_that_is_opened_from_a_folder(site: Path) -> None:
    try:
        chromium()
    except EmotionCircuitsError:
        pytest.skip("there is no Playwright, or neither Chromium nor Chrome")
    with open_page(site / "index.html") as tab:
        tab.evaluate(
            "const box = document.getElementById('__search'); box.checked = true; box.dispatchEvent(new Event('change'))"
        )
        tab.focus("input.md-search__input")
        tab.keyboard.type("perplexity", delay=50)
        tab.wait_for_selector(".md-search-result__item", state="attached", timeout=30_000)
        assert tab.evaluate("location.protocol") == "file:"
        assert "perplexity" in tab.locator(".md-search-result__item").first.text_content().lower()


def test_a_builder_without_hooks_finds_every_page_of_the_navigation(tmp_path: Path) -> None:
    write_plain(tmp_path)
    write_plain(tmp_path)  # over what is there
    settings = (tmp_path / "mkdocs.yml").read_text("utf-8")
    assert "docs/hooks.py" not in settings
    named = re.findall(r": ([\w./-]+\.md)$", settings, re.MULTILINE)
    assert len(named) > 40
    assert not [name for name in named if not (tmp_path / "docs" / name).is_file()]
    for name, content in pages().items():
        assert (tmp_path / "docs" / name).read_text("utf-8") == content
    assert (tmp_path / "src" / "emotion_circuits" / "__init__.py").is_file()


def test_the_command_line_reference_has_every_command_and_option() -> None:
    page = cli_page()
    for path, command in command_tree():
        assert len(path) == 1 or f"`{' '.join(path)}`" in page
        for option in command.params:
            assert option.param_type_name == "argument" or option.name == "help" or f"`{option.opts[0]}`" in page
    assert "`130`" in page or "130" in page


def test_the_settings_page_says_what_every_setting_means() -> None:
    rows = [line for line in settings_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert not [row for row in rows if row.endswith("|  |")]


def _commands() -> list[tuple[Path, list[str]]]:
    found = []
    for page in PAGES:
        for block in re.findall(r"^```(?:bash)?\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                line = line.split("  #")[0].strip()
                if line.startswith("emotion-circuits "):
                    found.append((page, shlex.split(line)))
    return found


def test_commands_in_the_documentation_exist_with_their_options() -> None:
    known = dict(command_tree())
    commands = _commands()
    assert len(commands) > 30
    for page, words in commands:
        depth = max(n for n in range(1, len(words) + 1) if tuple(words[:n]) in known)
        command = known[tuple(words[:depth])]
        assert not hasattr(command, "commands") or depth == len(words), f"{page.name}: {' '.join(words)}"
        options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
        used = {w.split("=")[0] for w in words[depth:] if w.startswith("-") and len(w) > 1}
        assert used <= options, f"{page.name}: {' '.join(words)}: {sorted(used - options)}"


def test_the_glossary_has_both_languages() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    rows = [line.replace("\\|", "").split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 50
    assert all(len(row) == 3 and all(cell.strip() for cell in row) for row in rows)
    assert [r[0].strip().lower() for r in rows] == sorted(r[0].strip().lower() for r in rows)


def test_the_findings_are_those_of_the_readme() -> None:
    page = findings_page(ROOT / "README.md")
    assert page.startswith("# What it finds")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len(rows) > 10
    assert all(line in (ROOT / "README.md").read_text("utf-8") for line in rows if "](" not in line)
