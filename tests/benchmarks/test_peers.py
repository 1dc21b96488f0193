"""Peers of the server stand in the table where they were measured, and are said to be left out where they were not."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from bench_all import serving_rows, writer_rows
from bench_serving import peer


def fail():
    raise RuntimeError("its server did not start")


OURS = {"speedup": 11.0, "steered_over_unsteered": 1.03}


def test_a_peer_without_an_environment_is_left_out_and_it_is_said():
    found = {**OURS, "saklas": peer(None, "saklas", fail), "vllm": peer("python", "vllm", fail)}
    rows = serving_rows(found)
    assert [row.met for row in rows] == [True, True, None, None]
    assert rows[2].figure == "left out: --saklas names no Python of an environment with it"
    assert rows[3].figure == "left out: its server did not start"


def test_what_peers_were_measured_at_stands_beside_ours():
    saklas = {"saklas_over_ours_cpu_seconds_per_token": 0.5, "saklas_over_ours_first_token_seconds": 4.0}
    rows = serving_rows({**OURS, "saklas": saklas, "vllm": {"steered_over_unsteered": 1.4}})
    assert [row.figure for row in rows[2:]] == ["2.00 × its time", "4.00 × faster", "1.40 × its time"]
    assert [row.met for row in rows[2:]] == [None, None, False]


def test_a_sweep_stands_beside_vllm_where_that_was_measured_and_is_said_to_be_left_out_elsewhere():
    found = {"writes": "bfloat16", "times_ours_on_the_clock": {"ours": 1.0, "ours, float32": 1.7}}
    assert [row.met for row in writer_rows(found)] == [None, None, None]
    assert [row.figure.startswith("left out") for row in writer_rows(found)] == [False, True, True]
    found["times_ours_on_the_clock"] |= {"vLLM": 0.8, "llama.cpp": 2.0}
    assert [(row.figure, row.met) for row in writer_rows(found)[1:]] == [
        ("1.25 × its time", False),
        ("2.00 × faster", None),
    ]
