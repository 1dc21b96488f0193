import numpy as np
import pandas as pd
import pytest
import torch

from direction_cases import planted_store
from emotion_circuits.activations import capture
from emotion_circuits.directions.subspace_tables import subspace_reliability, subspaces_between
from emotion_circuits.directions.two_models import compare_models
from emotion_circuits.errors import EmotionCircuitsError
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
    assert (good.r2_emotion > 0.95).all()
    assert (good.cos2 > 0.95).all()
    assert (good.cos2_apart > good.apart_shuffled_high + 0.3).all()
    assert (good.auroc - good.auroc_own).abs().max() < 0.02
    assert (good.auroc_low > good.auroc_shuffled_high).all()
    assert (good.p < 0.03).all()
    for table in (near.alignment.query("control != 'paired'"), far.alignment):
        assert (table.r2_neutral < 0.05).all()
        assert table.cos2.mean() == pytest.approx(table.cos2_chance.iloc[0], abs=0.12)
        assert (table.cos2_apart < table.apart_shuffled_high + 0.1).all()
    assert near.similarity.cka.iloc[0] > 0.99 > near.similarity.cka_high.iloc[0] + 0.5
    # The other model has the same labels and groups, so its geometry is a little alike; noise shares nothing.
    assert 0.1 < far.similarity.cka.iloc[0] < 0.5
    nothing = planted_store(tmp_path / "d", **{**make, "seed": 78, "strength": 0.0, "topic": 0.0})
    row = compare_models(a, nothing, depths=(0.0,), draws=40).similarity.iloc[0]
    assert abs(row.cka) < 0.1
    assert row.rsa_low - 0.05 < row.rsa < row.rsa_high + 0.05


def test_the_chosen_map_carries_directions_over(tmp_path):
    make = dict(groups=100, d=24, layers=2, words=False)
    a = planted_store(tmp_path / "a", **make)
    found = compare_models(a, planted_store(tmp_path / "b", **make), depths=(0.0, 1.0), draws=20)
    row, mapped = found.chosen(), found.mapped()
    assert row.r2_validation == found.alignment.query("control == 'paired'").r2_validation.max()
    assert mapped.layers == (row.layer_b,) == (mapped.chosen_layer,)
    own = found.directions[1]
    for label in own.labels:
        cosine = mapped.unit(label, mapped.layers[0]) @ own.unit(label, mapped.layers[0])
        assert float(cosine) > 0.95


def test_models_of_one_width_share_no_axes_unless_they_do(tmp_path):
    make = dict(groups=120, d=48, layers=1, strength=4.0, topic=1.0, words=False)
    a = planted_store(tmp_path / "a", **make)
    same = subspaces_between(a, planted_store(tmp_path / "b", **{**make, "seed": 0}), depths=(0.0,), ks=(3,))
    other = subspaces_between(a, planted_store(tmp_path / "c", **{**make, "seed": 5}), depths=(0.0,), ks=(3,))
    assert (same.set_index("subspace").overlap > 0.99).all()
    assert (other.overlap < other.null_high + 0.05).all()
    assert other.chance.tolist() == pytest.approx([3 / 48] * 3)
    wide = planted_store(tmp_path / "d", **{**make, "d": 32})
    with pytest.raises(EmotionCircuitsError, match="share no axes"):
        subspaces_between(a, wide)
    assert compare_models(a, wide, depths=(0.0,), draws=20).subspaces.empty


def test_halves_agree_on_emotion_only_where_there_is_some(tmp_path):
    make = dict(groups=600, d=48, layers=1, topic=1.0, words=False)
    for strength in (4.0, 0.0):
        table = subspace_reliability(
            planted_store(tmp_path / str(strength), **make, strength=strength), 0, ks=(3, 1000)
        ).set_index(["comparison", "subspace"])
        assert set(table.k) == {3}
        emotion = table.loc[("halves", "centred states")]
        if strength:
            assert emotion.overlap > 0.9
            assert table.loc[("halves", "directions")].overlap > 0.9
        else:
            assert emotion.overlap < emotion.null_high + 0.05
            assert table.loc[("halves", "directions")].overlap < emotion.null_high + 0.05
        crossed = table.loc[("emotion × topics", "centred states")]
        assert crossed.overlap < crossed.null_high + 0.05


def prompts(seed=0):
    """Labels that no model can know: the texts are random letters."""
    rng = np.random.default_rng(seed)
    rows = []
    for group in range(40):
        split = "train" if group < 24 else "validation" if group < 30 else "test"
        for label in ("gratitude", "anger", "apology", "neutral"):
            rows.append(
                Prompt(
                    id=f"{group}-{label}", text="".join(rng.choice(list("abcdefgh "), 12)) + "z", label=label,
                    group=str(group), split=split, language="en", set="core",
                )
            )  # fmt: skip
    return rows


@pytest.mark.slow
def test_seven_random_families_are_at_chance(tmp_path):
    rows = []
    for i, family in enumerate(FAMILIES):
        # Sentences of its own for every pair of models: luck with one set of labels would be luck for all of them.
        pair = [
            capture(tiny_model(f, seed=k), prompts(i), tmp_path / f"{i}{f}", kinds=("resid_post",), pooling=("last",))
            for k, f in enumerate((family, FAMILIES[(i + 1) % 7]))
        ]
        found = compare_models(*pair, depths=(1.0,), draws=60, methods=("ridge", "procrustes"))
        rows.append(found.alignment.query("control == 'paired' and matching == 'depth'"))
    table = pd.concat(rows)
    # The texts are the same in both models, so maps of them are real; labels mean nothing, so directions must not be.
    assert table.auroc.mean() == pytest.approx(0.5, abs=0.04)
    assert table.auroc_own.mean() == pytest.approx(0.5, abs=0.04)
    assert (table.auroc_low < 0.55).all()
    assert ((table.p < 0.05).groupby(table.method).sum() <= 2).all()  # of 7 by chance with 99.6 %
    # Sharing the sentences' noise lifts cos² above k/d; the shuffled labels show exactly that.
    inside = (table.cos2 <= table.cos2_shuffled_high) & (table.cos2 >= table.cos2_shuffled_low)
    apart = (table.cos2_apart <= table.apart_shuffled_high) & (table.cos2_apart >= table.apart_shuffled_low)
    assert inside.sum() >= 12
    assert apart.sum() >= 12


def test_too_few_shared_sentences(tmp_path):
    a = planted_store(tmp_path / "a", groups=20)
    b = planted_store(tmp_path / "b", groups=20)
    b.rows = b.rows.assign(id="x" + b.rows.id)
    with pytest.raises(EmotionCircuitsError, match="share only 0"):
        compare_models(a, b)
