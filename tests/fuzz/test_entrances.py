"""Whatever stands in a file or a setting, a command ends in one of its own exit codes, with a line that says why."""

from __future__ import annotations

import pytest

from fuzz_cases import attack, attack_in_workers, entrances, model_entrances, state_entrances

QUICK = ("yaml study", "--set", "csv", "jsonl", "json", "parquet", "attribute")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("EMOTION_CIRCUITS_OFFLINE", "1")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    return tmp_path


def test_some_damaged_inputs_of_settings_and_tables(place):
    found = {
        name: attack(name, one, place, range(6), seed=2) for name, one in entrances(place).items() if name in QUICK
    }
    assert not [one.wrong for one in found.values() if one.wrong]
    assert sum(sum(one.codes.values()) for one in found.values()) == 6 * len(QUICK)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_ten_thousand_damaged_inputs_end_in_a_line(place, runs, monkeypatch):
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(place / "cache"))
    every = {**entrances(place), **model_entrances(place), **state_entrances(place, runs / "a")}
    known = {
        name: attack(name, one._replace(change=lambda valid, _: valid), place, [0], seed=0)
        for name, one in every.items()
    }
    assert not {name: one for name, one in known.items() if 0 not in one.codes}
    total = sum(one.share for one in every.values())
    wrong, seen = {}, 0
    for name, one in every.items():
        found = attack_in_workers(name, one, place, -(-one.share * 10_000 // total), seed=1)
        seen += sum(found.codes.values())
        print(
            f"{name:24} {dict(found.codes)}, slowest {found.slowest:.1f} s, {found.memory / 2**20:.2f} GiB", flush=True
        )
        if found.wrong or found.memory > 2 * 2**20:
            wrong[name] = (len(found.wrong), found.memory, found.wrong[:5])
    print(seen, "inputs")
    assert not wrong
    assert seen >= 10_000
