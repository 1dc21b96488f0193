"""What ``emotion_circuits`` itself names: documented, imported when first used; and every example in a docstring runs."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import emotion_circuits

ROOT = Path(__file__).parents[2]
STUB = Path(emotion_circuits.__file__).with_suffix(".pyi")
PUBLIC = [name for name in emotion_circuits.__all__ if not name.startswith("__")]


def modules():
    return [
        m.name
        for m in pkgutil.walk_packages(emotion_circuits.__path__, "emotion_circuits.")
        if "__main__" not in m.name
    ]


def test_the_list_is_that_of_the_stub():
    listed = next(
        ast.literal_eval(node.value)
        for node in ast.parse(STUB.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
    )
    assert sorted(listed) == sorted({*emotion_circuits.__all__, "__version__"})


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_documented(name):
    found = getattr(emotion_circuits, name)
    if not (inspect.isclass(found) or inspect.isfunction(found)):
        return  # a constant, documented where it stands
    text = inspect.getdoc(found) or ""
    assert text.strip()
    parameters = [] if inspect.isclass(found) else list(inspect.signature(found).parameters)
    missing = [p for p in parameters if f"{p}:" not in text and f"``{p}``" not in text and f"**{p}" not in text]
    assert len(parameters) < 2 or not missing, f"{name}: {missing} are not explained"


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, emotion_circuits; print(sorted({'torch', 'transformers', 'pandas', 'plotly'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        emotion_circuits.no_such_name  # noqa: B018


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings_run(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = sum(bool(test.examples) for name in modules() for test in finder.find(importlib.import_module(name)))
    assert found >= 15
