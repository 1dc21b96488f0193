import numpy as np
import pytest
import torch
from direction_cases import planted_store

from emotion_circuits.activations import capture
from emotion_circuits.directions.comparing import compare_models, steering_transfer
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Sampling
from emotion_circuits.prompts import Prompt
from families import tiny_model

FAMILIES = ("gpt2", "gpt_neo", "gpt_neox", "llama", "qwen2", "gemma2", "phi3")


def rewrite(store, change):
    """The same capture with other states."""
    from safetensors.torch import load_file, save_file

    path = next(store.folder.glob("shard-*"))
    tensors = {k: change(v) if k.endswith("last") else v for k, v in load_file(path).items()}
    save_file(tensors, path)
    return store


def test_a_rotated_copy_transfers_and_an_unrelated_model_does_not(tmp_path):
    d = 24
    q = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(3))).Q
    make = dict(groups=300, d=d, layers=1, strength=2.0, topic=2.0, words=False)
    a = planted_store(tmp_path / "a", **make)
    same = rewrite(planted_store(tmp_path / "b", **make), lambda v: (v @ q * 3).contiguous())
    other = planted_store(tmp_path / "c", **{**make, "seed": 77})
    near, far = (compare_models(a, x, depths=(0.0,), draws=40) for x in (same, other))
    good = near.alignment.query("control == 'paired'")
    full = good[good["rank"] >= d]
    assert len(full)
    assert (full.r2_emotion > 0.95).all()
    # States of full rank d: a map of lower rank can carry its share of them, and no more.
    low = good[good["rank"] < d]
    assert np.allclose(low.r2_emotion, low["rank"] / d, atol=0.1)
    assert (full.cos2 > 0.95).all()
    assert (low.cos2 > low.cos2_chance + 0.3).all()
    assert (full.auroc - full.auroc_own).abs().max() < 0.02
    for table in (near.alignment.query("control != 'paired'"), far.alignment):
        assert (table.r2_neutral < 0.05).all()
        assert (table.cos2 < 0.6).all()
        assert table.cos2.mean() == pytest.approx(table.cos2_chance.iloc[0], abs=0.12)
    assert near.similarity.cka.iloc[0] > 0.99
    # The other model has the same labels and groups, so its geometry is a little alike; noise shares nothing.
    assert 0.1 < far.similarity.cka.iloc[0] < 0.5
    nothing = planted_store(tmp_path / "d", **{**make, "seed": 78, "strength": 0.0, "topic": 0.0})
    row = compare_models(a, nothing, depths=(0.0,), draws=40).similarity.iloc[0]
    assert abs(row.cka) < 0.1
    assert row.rsa_low - 0.05 < row.rsa < row.rsa_high + 0.05


def prompts():
    """Labels that no model can know: the texts are random letters."""
    rng = np.random.default_rng(0)
    rows = []
    for group in range(40):
        for label in ("gratitude", "anger", "apology", "neutral"):
            rows.append(
                Prompt(
                    id=f"{group}-{label}", text="".join(rng.choice(list("abcdefgh "), 12)) + "z", label=label,
                    group=str(group), split="train" if group < 25 else "test", language="en", set="core",
                )
            )  # fmt: skip
    return rows


def test_seven_random_families_are_at_chance(tmp_path):
    stores = [
        capture(tiny_model(f, seed=i), prompts(), tmp_path / f, kinds=("resid_post",), pooling=("last",))
        for i, f in enumerate(FAMILIES)
    ]
    cos, area = [], []
    for i, store in enumerate(stores):
        found = compare_models(store, stores[(i + 1) % 7], depths=(1.0,), draws=40, methods=("ridge", "procrustes"))
        table = found.alignment.query("control == 'paired' and matching == 'depth'")
        cos += list(table.cos2)
        area += list(table.auroc)
        assert (table.cos2 < 0.6).all()
        # Noise has no emotion in it: neither the model's own directions nor mapped ones tell labels apart.
        assert (table.auroc.between(0.35, 0.65)).all()
        assert (table.auroc_own.between(0.35, 0.65)).all()
    assert np.mean(area) == pytest.approx(0.5, abs=0.05)


def test_too_few_shared_sentences(tmp_path):
    a = planted_store(tmp_path / "a", groups=20)
    b = planted_store(tmp_path / "b", groups=20)
    b.rows = b.rows.assign(id="x" + b.rows.id)
    with pytest.raises(EmotionCircuitsError, match="share only 0"):
        compare_models(a, b)


def test_steering_transfer_shares_everything_but_the_vector():
    model = tiny_model("llama")
    v = torch.randn(32, generator=torch.Generator().manual_seed(0))
    table = steering_transfer(
        model, ["I saw", "We go"], {"own": v, "longer": 5 * v}, 1, 3.0, lambda texts: [len(t) for t in texts],
        alpha=1.0, sampling=Sampling(max_new_tokens=8, temperature=1.0),
    )  # fmt: skip
    texts = table.pivot(index="prompt", columns="condition", values="text")
    assert (texts["own"] == texts["longer"]).all()
    assert (texts["own"] != texts["none"]).any()
    with pytest.raises(EmotionCircuitsError, match="length 0"):
        steering_transfer(model, ["I"], {"zero": 0 * v}, 1, 1.0, lambda t: [0.0])
