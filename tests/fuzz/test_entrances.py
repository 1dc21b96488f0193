"""Whatever stands in a file or a setting, a command ends in one of its own exit codes, with a line that says why."""

from __future__ import annotations

import random
import resource
from collections import Counter

import pytest

from emotion_circuits.cli.exit_codes import DONE, PROBLEM, USAGE
from fuzz_cases import SETTINGS, arguments_for, call_here, damaged, valid_inputs

# Loading models and tokenizers is looked at by the tests of rooms of their own; their entrances are tried at length alone.
_MODELS = ("config.json", "tokenizer.json", "gguf header")


def attack(folder, counts, seed):
    """Entrance → exit codes, and what must not be."""
    found, wrong, slowest = {}, [], Counter()
    inputs = valid_inputs(folder)
    for name, count in counts.items():
        codes = Counter()
        for number in range(count):
            rng = random.Random(f"{seed} {name} {number}")
            valid = rng.choice(SETTINGS) if name == "set" else inputs[name][1]
            content = damaged(valid, rng)
            outcome = call_here(arguments_for(inputs[name], content, folder))
            codes[outcome.code] += 1
            slowest[name] = max(slowest[name], outcome.seconds)
            if outcome.code not in (DONE, PROBLEM, USAGE) or "Traceback" in outcome.text or outcome.seconds > 20:
                wrong.append((name, number, outcome.code, outcome.text[-300:], content[:300]))
        if inputs[name][0]:
            (folder / inputs[name][0]).write_bytes(inputs[name][1])
        found[name] = dict(codes)
    return found, wrong, slowest


@pytest.fixture
def small_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def test_damaged_inputs_end_in_a_line(small_cache):
    names = [name for name in valid_inputs(small_cache) if name not in _MODELS]
    found, wrong, _ = attack(small_cache, dict.fromkeys(names, 30), seed=0)
    assert not wrong, wrong[:5]
    assert sum(sum(codes.values()) for codes in found.values()) == 30 * len(names)


@pytest.mark.slow
def test_ten_thousand_damaged_inputs_end_in_a_line(small_cache):
    names = [name for name in valid_inputs(small_cache) if name not in _MODELS]
    found, wrong, slowest = attack(small_cache, dict.fromkeys(names, 10_000 // len(names) + 1), seed=1)
    print(found, slowest)
    assert not wrong, wrong[:20]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss <= 2 * 2**20
