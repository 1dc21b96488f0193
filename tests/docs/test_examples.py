"""The Python examples of the documentation run as they stand, on fewer sentences.

The model is a narrow one of the default model's layers, heads and tokenizer, with random weights: what is tested here is the
code, not the figures. The notebook's test uses the model itself.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from plotly.graph_objects import Figure
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import emotion_circuits.model
import emotion_circuits.prompts
from emotion_circuits.activations import capture
from emotion_circuits.model import LanguageModel, install
from emotion_circuits.model.families import family_of
from emotion_circuits.prompts import Prompt, load_prompts
from emotion_circuits.steering import SweepView
from families import tiny_model

ROOT = Path(__file__).parents[2]
STATIONS = [
    "prompts", "curation", "model", "activations", "directions", "evaluation", "steering", "heads", "circuits", "planted",
    "study", "sharing",
]  # fmt: skip
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GROUPS = 5  # of each corpus and split


def fewer_prompts(names: str | Sequence[str], **options: Any) -> list[Prompt]:
    """``load_prompts`` with the first groups of each corpus and split."""
    kept: dict[tuple[str, str], dict[str, None]] = {}
    rows = load_prompts(names, **options)
    for row in rows:
        groups = kept.setdefault((row.set.split("/")[0], row.split), {})
        if len(groups) < GROUPS or row.group in groups:
            groups[row.group] = None
    return [r for r in rows if r.group in kept[r.set.split("/")[0], r.split]]


@pytest.fixture(scope="module")
def narrow() -> LanguageModel:
    """The default model's shape but for its width."""
    folder = install("smollm2-135m")
    config = AutoConfig.from_pretrained(folder)
    config.update({"hidden_size": 72, "head_dim": 8, "intermediate_size": 96, "initializer_range": 0.2})
    torch.manual_seed(0)
    hf = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    return LanguageModel(hf, AutoTokenizer.from_pretrained(folder), family_of(config), "smollm2-135m")


@pytest.fixture
def small(narrow: LanguageModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The narrow model, few sentences, and a folder of its own."""

    def load(name: str, **_: Any) -> LanguageModel:
        assert name == "smollm2-135m"
        return narrow

    # The package keeps a name once it is used: both places, or the stand-in would outlive the test.
    monkeypatch.setattr(emotion_circuits, "load_model", load)
    monkeypatch.setattr(emotion_circuits, "load_prompts", fewer_prompts)
    monkeypatch.setattr(emotion_circuits.model, "load_model", load)
    monkeypatch.setattr(emotion_circuits.prompts, "load_prompts", fewer_prompts)
    monkeypatch.chdir(tmp_path)


def run_page(page: Path, **given: Any) -> int:
    """Run the page's blocks one after another in one namespace; errors point to the page's own lines."""
    text = page.read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "example", **given}
    blocks = list(BLOCK.finditer(text))
    for block in blocks:
        lines_before = text[: block.start(1)].count("\n")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile("\n" * lines_before + block[1], str(page), "exec"), names)
    return len(blocks)


@pytest.mark.usefixtures("small")
def test_the_examples_of_the_stations_run_one_after_another() -> None:
    for name in STATIONS:
        assert run_page(ROOT / "docs" / "stations" / f"{name}.md") > 0, name


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["method", "howto/evaluator", "howto/language", "howto/attribute", "howto/colab"])
def test_the_examples_of_a_page_run(name: str) -> None:
    assert run_page(ROOT / "docs" / f"{name}.md") > 0


@pytest.mark.usefixtures("small")
def test_the_examples_of_the_readme_run() -> None:
    rows = fewer_prompts(["core", "implicit", "scenarios"])
    other = capture(
        tiny_model("llama", max_position_embeddings=1024), rows, "runs/other", pooling=("last", "mean", "frame")
    )
    assert run_page(ROOT / "README.md", other_store=other) > 0


@pytest.mark.usefixtures("small")
def test_the_cells_of_the_colab_notebook_run_but_the_one_that_installs(capsys: pytest.CaptureFixture[str]) -> None:
    book = nbformat.read(ROOT / "docs" / "colab.ipynb", as_version=4)
    names: dict[str, Any] = {"__name__": "example"}
    shown = []
    for cell in book.cells:
        if cell.cell_type != "code" or "install" in cell.metadata.get("tags", []):
            continue
        *steps, last = ast.parse(cell.source, filename=cell.id).body
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(ast.Module(steps, []), cell.id, "exec"), names)
            if isinstance(last, ast.Expr):
                shown.append(eval(compile(ast.Expression(last.value), cell.id, "eval"), names))
            else:
                exec(compile(ast.Module([last], []), cell.id, "exec"), names)
    assert names["DEVICE"] == ("cuda" if torch.cuda.is_available() else "cpu")
    said = capsys.readouterr().out
    assert "smollm2-135m, 30 layers, in torch.float32 on the CPU" in said
    assert sum(isinstance(each, Figure) for each in shown) == 3
    (view,) = (each for each in shown if isinstance(each, SweepView))
    assert view.conditions[:2] == ["none", "gratitude"]
