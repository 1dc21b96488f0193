from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Add, Sampling, Site, generate, intervene, observe
from emotion_circuits.model.generation import row_seed
from emotion_circuits.prompts import Prompt, load_attribute
from emotion_circuits.stations.steering.settings import SteeringSettings
from emotion_circuits.statistics import fdr
from emotion_circuits.steering import (
    NONE,
    Condition,
    SteeringVectors,
    controls,
    first_token_mean,
    grid,
    interventions_for,
    prompted,
    shared_controls,
    sweep,
)
from emotion_circuits.steering import sweeping as sweeping_module
from emotion_circuits.steering.injecting import layer_interventions
from families import tiny_model

PHRASES = load_attribute("emotion-en").prompting
assert PHRASES is not None
HOW = Sampling(max_new_tokens=6, temperature=1.0, min_new_tokens=6)


def vectors(layers: int = 3, d: int = 32, *names: str) -> SteeringVectors:
    g = torch.Generator().manual_seed(0)
    raw = {n: torch.randn(layers, d, generator=g) * 2 for n in (names or ("gratitude", "anger", "apology"))}
    return SteeringVectors.from_raw(raw, torch.arange(1, layers + 1).float())


def prompts(count: int = 5, split: str = "validation") -> list[Prompt]:
    texts = ["One two three", "Hi", "The cat sat on", "A", "Where is it, and who"][:count]
    return [
        Prompt(id=f"p{i}", text=t, label="neutral", group=f"g{i}", split=split, language="en", set="t")  # type: ignore[arg-type]
        for i, t in enumerate(texts)
    ]


CONDITIONS = [
    *grid(["gratitude", "anger"], [0, 2], [1.0, 3.0]),
    Condition(name="random", kind="random", emotion="gratitude", layers=(1,), alpha=2.0, seed=4),
    Condition(name="clamp", emotion="anger", layers=(1,), alpha=2.0, operation="clamp"),
    Condition(name="ablate", emotion="anger", layers=(0, 1, 2), operation="ablate"),
    Condition(name="gated", emotion="anger", layers=(1,), alpha=2.0, gate="gratitude", when="generated"),
    Condition(
        name="mixed", layers=(1, 2), alpha=2.0, mixture=(("gratitude", 0.5), ("apology", -0.5)), positions="last"
    ),
    Condition(name="raw", emotion="anger", layers=(1,), alpha=0.5, units="raw"),
]


def test_every_row_of_a_mixed_sweep_is_what_its_condition_writes_alone(tmp_path: Path) -> None:
    model, v = tiny_model("llama"), vectors()
    table = sweep(model, prompts(), CONDITIONS, v, folder=tmp_path, sampling=HOW, samples=2, batch_rows=16, seed=3)
    assert len(table) == len(CONDITIONS) * 5 * 2
    assert table["condition"].drop_duplicates().tolist() == [c.name for c in CONDITIONS]
    for name, site_vector in {
        "gratitude L2 α=3": Add(site=Site("resid_post", 2), vector=v.unit["gratitude"][2], alpha=9.0),
        "none": None,
        "raw": Add(site=Site("resid_post", 1), vector=v.unit["anger"][1], alpha=0.5 * float(v.lengths["anger"][1])),
    }.items():
        edits = [] if site_vector is None else [site_vector]
        for row in table[table["condition"] == name].itertuples():
            alone = generate(
                model, [row.prompt], HOW, interventions=edits, seeds=[row_seed(3, row.prompt_id, row.sample)]
            )
            assert alone[0].text == row.text, name
            assert " ".join(map(str, alone[0].token_ids)) == row.ids, name
            assert len(alone[0].token_ids) == row.n_tokens, name
    different = table.groupby("condition")["text"].apply(lambda t: tuple(t))
    assert different.nunique() == len(CONDITIONS)


def test_clamps_gates_ablations_and_sink_strengths_write_the_same_with_cache_without_padded_and_alone() -> None:
    model = tiny_model("llama")
    v = vectors().with_neutral(torch.randn(3, 32, generator=torch.Generator().manual_seed(5)))
    v = v.with_first(first_token_mean(model, ["One", "Two"]))
    arms = [
        NONE,
        Condition(name="clamp", emotion="anger", layers=(1,), alpha=3.0, operation="clamp", positions="rest"),
        Condition(name="from neutral", emotion="anger", layers=(1,), alpha=3.0, operation="clamp", origin="neutral"),
        Condition(name="ablate", emotion="gratitude", layers=(0, 1, 2), operation="ablate", when="generated"),
        Condition(name="gated", emotion="anger", layers=(1,), alpha=4.0, gate="gratitude"),
        Condition(name="sink", emotion="anger", layers=(0, 1), alpha=1.0, positions="rest", first=9.0),
        Condition(name="prompt", emotion="apology", layers=(0,), alpha=9.0, when="prompt"),
    ]
    texts = ["One two three", "Hi", "The cat sat on", "A", "Where is it, and who", "Seven", "No, eight of them"]
    edits = interventions_for(arms, v)
    together = [g.token_ids for g in generate(model, texts, HOW, interventions=edits, seeds=7)]
    seeds = [row_seed(7, i, t) for i, t in enumerate(texts)]
    without = generate(model, texts, HOW, interventions=edits, seeds=seeds, use_cache=False)
    assert [g.token_ids for g in without] == together
    plain = [g.token_ids for g in generate(model, texts, HOW, seeds=7)]
    for i, arm in enumerate(arms):
        alone = generate(model, [texts[i]], HOW, interventions=interventions_for([arm], v), seeds=[seeds[i]])
        assert alone[0].token_ids == together[i], arm.name
        assert (together[i] == plain[i]) == (arm is NONE), arm.name


def test_a_clamp_from_neutral_sets_the_projection_that_far_from_the_neutral_mean() -> None:
    model = tiny_model("gpt2")
    mean = torch.randn(3, 32, generator=torch.Generator().manual_seed(5))
    v = vectors().with_neutral(mean)
    arm = Condition(
        name="c", emotion="anger", layers=(1,), alpha=2.0, operation="clamp", origin="neutral", positions="rest"
    )
    batch, site = model.tokenize(["One two three", "Hi"]), Site("resid_post", 1)
    with observe(model, [site]) as record:
        model.logits(batch)
    before = record[site]
    with intervene(model, layer_interventions(arm, v)), observe(model, [site]) as record:
        model.logits(batch)
    u = v.unit["anger"][1]
    found, first = record[site] @ u, batch.real & (batch.attention_mask.cumsum(-1) == 1)
    goal = float(mean[1] @ u) + 2.0 * float(v.norms[1])
    assert torch.allclose(found[batch.real & ~first], torch.tensor(goal), atol=1e-4)
    assert torch.equal(record[site][first], before[first])
    with pytest.raises(EmotionCircuitsError, match="with_neutral"):
        layer_interventions(arm, vectors())
    assert v.sha256() != vectors().sha256()


def test_what_is_added_to_the_first_token_is_added_there_only() -> None:
    model = tiny_model("llama")
    mean = first_token_mean(model, ["One two three", "Hi"])
    v = vectors().with_first(mean)
    arm = Condition(name="c", emotion="anger", layers=(1,), alpha=1.0, positions="rest", first=5.0)
    batch, site = model.tokenize(["One two three", "Hi"]), Site("resid_post", 1)
    with observe(model, [site]) as record:
        model.logits(batch)
    before = record[site]
    with intervene(model, layer_interventions(arm, v)), observe(model, [site]) as record:
        model.logits(batch)
    moved = ((record[site] - before) @ v.unit["anger"][1]) / float(v.norms[1])
    first = batch.real & (batch.attention_mask.cumsum(-1) == 1)
    assert torch.allclose(mean[1], before[first].double().mean(0), atol=1e-5)
    assert torch.allclose(moved[first], torch.tensor(5.0), rtol=1e-4)
    assert torch.allclose(moved[batch.real & ~first], torch.tensor(1.0), atol=1e-4)
    assert torch.equal(record[site][~batch.real], before[~batch.real])
    with pytest.raises(EmotionCircuitsError, match="positions 'rest'"):
        Condition(name="c", emotion="anger", layers=(1,), alpha=1.0, first=5.0)


def test_a_direction_against_the_rest_is_the_difference_to_the_mean_of_all_other_labels() -> None:
    g = torch.Generator().manual_seed(6)
    means = {name: torch.randn(3, 32, generator=g) for name in ("gratitude", "anger", "apology", "neutral")}
    raw = {e: means[e] - means["neutral"] for e in ("gratitude", "anger", "apology")}
    found = SteeringVectors.from_raw(raw, torch.ones(3)).against_rest(tuple(raw))
    for e in raw:
        wanted = means[e] - torch.stack([means[o] for o in means if o != e]).mean(0)
        assert torch.allclose(found.unit[e] * found.lengths[e][:, None], wanted, atol=1e-4)
    with pytest.raises(EmotionCircuitsError, match="no fitted direction of joy"):
        found.against_rest(["joy"])


def test_directions_clear_of_the_sink_are_orthogonal_to_it_and_survive_saving(tmp_path: Path) -> None:
    sink = 100 * torch.randn(3, 32, generator=torch.Generator().manual_seed(2))
    v = vectors().with_first(sink).with_neutral(sink / 7)
    clear = v.clear_of_first()
    for name, rows in clear.unit.items():
        assert torch.allclose((rows * sink).sum(-1), torch.zeros(3), atol=1e-3)
        assert torch.allclose(rows.norm(dim=-1), torch.ones(3), atol=1e-5)
        # What is left of the fitted direction keeps its length.
        fitted = v.unit[name] * v.lengths[name][:, None]
        assert torch.allclose((fitted * rows).sum(-1), clear.lengths[name], atol=1e-4)
    clear.save(tmp_path / "v.safetensors")
    assert SteeringVectors.load(tmp_path / "v.safetensors").sha256() == clear.sha256()
    with pytest.raises(EmotionCircuitsError, match="can be read"):
        SteeringVectors.load(tmp_path / "none.safetensors")
    with pytest.raises(EmotionCircuitsError, match="with_first"):
        vectors().clear_of_first()


def test_alpha_zero_shares_draws_with_no_steering(tmp_path: Path) -> None:
    arms = [NONE, Condition(name="zero", emotion="anger", layers=(1,), alpha=0.0)]
    table = sweep(tiny_model("gpt2"), prompts(), arms, vectors(), folder=tmp_path, sampling=HOW, samples=3)
    texts = table.groupby("condition")["text"].apply(list)
    assert texts["none"] == texts["zero"]
    assert len(set(texts["none"])) == 15


def test_a_finished_sweep_is_read_and_another_one_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, v = tiny_model("gpt2"), vectors()
    first = sweep(model, prompts(), CONDITIONS[:3], v, folder=tmp_path, sampling=HOW)
    before = (tmp_path / "sweep.parquet").read_bytes()
    monkeypatch.setattr(sweeping_module, "generate", lambda *a, **k: pytest.fail("generated again"))
    pd.testing.assert_frame_equal(sweep(model, prompts(), CONDITIONS[:3], v, folder=tmp_path, sampling=HOW), first)
    assert (tmp_path / "sweep.parquet").read_bytes() == before
    with pytest.raises(EmotionCircuitsError, match="differs in seed"):
        sweep(model, prompts(), CONDITIONS[:3], v, folder=tmp_path, sampling=HOW, seed=1)
    with pytest.raises(EmotionCircuitsError, match="differs in vectors_sha256"):
        sweep(model, prompts(), CONDITIONS[:3], vectors(3, 32, "gratitude"), folder=tmp_path, sampling=HOW)
    model.writes = torch.bfloat16
    with pytest.raises(EmotionCircuitsError, match=r"differs in .*dtype"):
        sweep(model, prompts(), CONDITIONS[:3], v, folder=tmp_path, sampling=HOW)


def test_an_interrupted_sweep_repeats_no_finished_chunk_and_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, v = tiny_model("llama"), vectors()
    arguments = dict(sampling=HOW, samples=2, batch_rows=8, seed=5)
    sweep(model, prompts(), CONDITIONS, v, folder=tmp_path / "whole", **arguments)  # type: ignore[arg-type]
    calls: list[int] = []
    real = sweeping_module.generate

    def dying(*args: object, **kwargs: object) -> object:
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(sweeping_module, "generate", dying)
    with pytest.raises(KeyboardInterrupt):
        sweep(model, prompts(), CONDITIONS, v, folder=tmp_path / "cut", **arguments)  # type: ignore[arg-type]
    kept = [len(pd.read_parquet(part)) for part in (tmp_path / "cut" / "parts").glob("*.parquet")]
    assert len(kept) == 4
    after: list[int] = []

    def counting(*args: object, **kwargs: object) -> object:
        after.append(len(args[1]))  # type: ignore[arg-type]
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(sweeping_module, "generate", counting)
    sweep(model, prompts(), CONDITIONS, v, folder=tmp_path / "cut", **arguments)  # type: ignore[arg-type]
    assert sum(after) == len(CONDITIONS) * 10 - sum(kept)
    assert (tmp_path / "cut" / "sweep.parquet").read_bytes() == (tmp_path / "whole" / "sweep.parquet").read_bytes()


def test_a_flipped_bit_in_a_part_is_noticed_and_its_texts_are_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model, v = tiny_model("llama"), vectors()
    arguments = dict(sampling=HOW, samples=2, batch_rows=8, seed=5)
    whole = sweep(model, prompts(), CONDITIONS, v, folder=tmp_path / "whole", **arguments)  # type: ignore[arg-type]
    real, calls = sweeping_module.generate, iter(range(4))

    def dying(*args: object, **kwargs: object) -> object:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(sweeping_module, "generate", dying)
    with pytest.raises(KeyboardInterrupt):
        sweep(model, prompts(), CONDITIONS, v, folder=tmp_path / "cut", **arguments)  # type: ignore[arg-type]
    monkeypatch.undo()
    part = sorted((tmp_path / "cut" / "parts").glob("part-*"))[1]
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 4
    part.write_bytes(data)
    found = sweep(model, prompts(), CONDITIONS, v, folder=tmp_path / "cut", **arguments)  # type: ignore[arg-type]
    assert f"{part.name}: is damaged; its texts are written anew" in caplog.text
    pd.testing.assert_frame_equal(found, whole)
    table = tmp_path / "cut" / "sweep.parquet"
    table.write_bytes(table.read_bytes()[:-1] + b"?")
    with pytest.raises(EmotionCircuitsError, match=r"sweep\.parquet: is damaged.*delete this file"):
        sweep(model, prompts(), CONDITIONS, v, folder=tmp_path / "cut", **arguments)  # type: ignore[arg-type]
    table.unlink()
    again = sweep(model, prompts(), CONDITIONS, v, folder=tmp_path / "cut", **arguments)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(again, whole)


def test_kill_9_loses_the_chunks_being_written_and_no_more(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import sys, time, torch
        torch.set_num_threads(2)
        sys.path.insert(0, {str(Path(__file__).parent)!r}); sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from pathlib import Path
        from families import tiny_model
        from test_sweeping import CONDITIONS, HOW, prompts, vectors
        from emotion_circuits.steering import sweep, sweeping
        real = sweeping._run
        def slow(*a):
            time.sleep(float(sys.argv[2]))
            return real(*a)
        sweeping._run = slow
        folder = Path(sys.argv[1])
        sweep(tiny_model("llama"), prompts(), CONDITIONS, vectors(), folder=folder, sampling=HOW, batch_rows=4)
        """
    )
    parts = tmp_path / "killed" / "parts"
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "killed"), "0.3"])
    try:
        deadline = time.monotonic() + 60
        while len(list(parts.glob("part-*.parquet"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    kept = {p.name: p.stat().st_mtime_ns for p in parts.glob("part-*.parquet")}
    assert len(kept) >= 3
    (parts / ".part-00009.parquet.half.tmp").write_bytes(b"PAR1")  # a kill may fall into the writing of a part
    assert not (tmp_path / "killed" / "sweep.parquet").exists()
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "killed"), "0"], check=True)
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "whole"), "0"], check=True)
    same = [(tmp_path / folder / "sweep.parquet").read_bytes() for folder in ("killed", "whole")]
    assert same[0] == same[1]


def test_prompting_arms_continue_the_same_opening(tmp_path: Path) -> None:
    model = tiny_model("gpt2", n_positions=512)
    arms = [
        NONE,
        Condition(name="say", kind="prompting", emotion="anger"),
        Condition(name="show", kind="prompting", emotion="anger", style="few_shot"),
    ]
    table = sweep(
        model, prompts(2), arms, vectors(), folder=tmp_path, sampling=HOW, phrases=PHRASES,
        examples={"anger": ["I am mad.", "Grr!"]},
    )  # fmt: skip
    shown = table[table["condition"] == "show"]
    assert all(c.endswith(p) for c, p in zip(table["context"], table["prompt"], strict=True))
    assert all("- Grr!" in c for c in shown["context"])
    model.tokenizer.chat_template = "{% for m in messages %}<{{ m.content }}>{% endfor %}Answer: "
    text, rendered = prompted(model, "The bus", arms[1], PHRASES)
    assert rendered
    assert text.startswith("<Continue the text. Express anger.")
    assert text.endswith("Answer: The bus")
    with pytest.raises(EmotionCircuitsError, match="needs an emotion"):
        prompted(model, "x", Condition(name="n", kind="prompting", style="few_shot"), PHRASES)
    with pytest.raises(EmotionCircuitsError, match=r"prompting\.instructions has no sentence for 'joy'"):
        prompted(model, "x", Condition(name="n", kind="prompting", emotion="joy"), PHRASES)
    with pytest.raises(EmotionCircuitsError, match="needs the attribute's phrases"):
        sweep(model, prompts(2), arms, vectors(), folder=tmp_path / "none", sampling=HOW)


def test_what_is_asked_in_words_is_part_of_what_a_sweep_is(tmp_path: Path) -> None:
    model = tiny_model("gpt2", n_positions=512)
    arms = [NONE, Condition(name="say", kind="prompting", emotion="anger")]
    sweep(model, prompts(2), arms, vectors(), folder=tmp_path, sampling=HOW, phrases=PHRASES)
    other = PHRASES.model_copy(update={"instructions": {"anger": "Go on, angrily."}})
    with pytest.raises(EmotionCircuitsError, match="it differs in phrases"):
        sweep(model, prompts(2), arms, vectors(), folder=tmp_path, sampling=HOW, phrases=other)


def test_controls_match_the_condition_in_everything_but_direction() -> None:
    chosen = Condition(name="c", emotion="anger", layers=(3, 4), alpha=0.2, when="generated")
    made = controls(chosen, random=20, shuffled=["shuffled anger 0"], others=["gratitude", "anger", "apology"])
    kinds = [c.kind for c in made]
    assert kinds.count("random") == 20
    assert kinds.count("other") == 2
    assert kinds.count("shuffled") == 1
    assert kinds.count("prompting") == 2
    for c in made:
        if c.kind != "prompting":
            assert (c.layers, c.alpha, c.when, c.emotion) == ((3, 4), 0.2, "generated", "anger")
    assert len({c.name for c in made}) == len(made)
    with pytest.raises(EmotionCircuitsError, match="matched controls"):
        controls(NONE)


def test_emotions_at_one_place_share_their_controls_and_others_do_not() -> None:
    a, b = (Condition(name=e, emotion=e, layers=(3,), alpha=0.2) for e in ("anger", "apology"))
    far = Condition(name="gratitude", emotion="gratitude", layers=(5,), alpha=0.2)
    made = shared_controls([a, b, far], random=20, shuffled=["shuffled 0"])
    kinds = [c.kind for c in made]
    assert kinds.count("random") == 40
    assert kinds.count("shuffled") == 2
    assert kinds.count("prompting") == 6
    # anger and apology at layer 3 are each other's "other"; gratitude there, and those two at layer 5, are new.
    assert [(c.direction, c.layers) for c in made if c.kind == "other"] == [
        ("gratitude", (3,)), ("anger", (5,)), ("apology", (5,)),
    ]  # fmt: skip
    assert len({c.name for c in made}) == len(made)
    raw = shared_controls(
        [Condition(name=e, emotion=e, layers=(3,), alpha=1, units="raw") for e in ("anger", "apology")], random=20
    )
    assert {c.emotion for c in raw if c.kind == "random"} == {"anger", "apology"}
    assert sum(c.kind == "random" for c in raw) == 40


@pytest.mark.parametrize(("places", "nulls"), [(1, 198), (3, 594)])
def test_controls_grow_with_places_and_not_with_values(places, nulls) -> None:
    """Twenty-four values at one place are ranked among the same directions; each further place costs its own."""
    chosen = [
        Condition(name=f"v{i}", emotion=f"v{i}", layers=(3 + i % places,), alpha=0.2, units="norm") for i in range(24)
    ]
    made = shared_controls(chosen, random=99, shuffled=[f"shuffled {i}" for i in range(99)], prompting=False)
    assert sum(c.kind in ("random", "shuffled") for c in made) == nulls


@pytest.mark.parametrize(("values", "nulls"), [(1, 99), (4, 99), (24, 480)])
def test_null_directions_grow_with_the_family_where_that_is_asked_for(values, nulls) -> None:
    asked = SteeringSettings.model_validate({"random_directions": None, "shuffled_directions": None})
    assert asked.nulls(values) == (nulls, nulls)
    assert SteeringSettings().nulls(values) == (99, 99)
    # A value of which all three metrics rank first can be claimed among as many values of which nothing is true.
    p = 1 / (1 + nulls)
    q = fdr([p] * 3 + [1.0] * (3 * values - 3), family="one of many").q
    assert min(q.values()) <= 0.05
    if values == 24:
        assert min(fdr([0.01] * 3 + [1.0] * 69, family="one of many").q.values()) > 0.05


def test_conditions_survive_json_and_wrong_ones_are_refused() -> None:
    for c in CONDITIONS:
        assert Condition.from_json(c.to_json()) == c
    for bad, message in [
        (dict(name="x"), "layers"),
        (dict(name="x", layers=(1,)), "name an emotion"),
        (dict(name="x", emotion="a", layers=(1, 1)), "distinct"),
        (dict(name="x", emotion="a", layers=(1,), alpha=float("nan")), "finite"),
        (dict(name="x", kind="other", emotion="a", layers=(1,)), "name the direction"),
        (dict(name="x", kind="what"), "kind must be"),
        (dict(name=" "), "needs a name"),
    ]:
        with pytest.raises(EmotionCircuitsError, match=message):
            Condition(**bad)  # type: ignore[arg-type]
    with pytest.raises(EmotionCircuitsError, match="unexpected keyword"):
        Condition.from_json({"name": "x", "colour": "red"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(conditions=[NONE, NONE]), "different names"),
        (dict(conditions=[]), "at least one condition"),
        (dict(prompts=[]), "at least one prompt"),
        (dict(samples=2, sampling=Sampling(temperature=0)), "greedy"),
        (dict(conditions=[Condition(name="x", emotion="joy", layers=(1,), alpha=1)]), "no direction named 'joy'"),
        (dict(conditions=[Condition(name="x", emotion="anger", layers=(9,), alpha=1)]), "no layer 9"),
    ],
)
def test_bad_sweeps_are_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    arguments: dict[str, object] = dict(prompts=prompts(), conditions=[NONE], samples=1, sampling=HOW) | change
    with pytest.raises(EmotionCircuitsError, match=message):
        sweep(tiny_model("gpt2"), vectors=vectors(), folder=tmp_path, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("openings", [1, 3])
def test_batches_are_even_never_empty_and_hold_every_row_once(openings: int, batch_rows: int) -> None:
    model = tiny_model("llama")
    cells = sweeping_module._cells(model, prompts(openings), CONDITIONS[:3], 1, sweeping_module.Asking(None, {}))
    chunks = sweeping_module._chunks(cells, batch_rows)
    assert [cell for chunk in chunks for cell in chunk] == cells
    sizes = [len(chunk) for chunk in chunks]
    assert min(sizes) > 0
    assert max(sizes) <= batch_rows
    assert max(sizes) - min(sizes) <= 1
