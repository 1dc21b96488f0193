import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from direction_cases import planted_directions, planted_store
from emotion_circuits.directions import EXTRACTORS, Examples, extract, fit_directions
from emotion_circuits.directions.extractors import leading_axes, midpoint_thresholds, permute_within, shrunk_solve
from emotion_circuits.errors import EmotionCircuitsError


def cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=-1))


@pytest.mark.parametrize("name", [n for n in EXTRACTORS if n != "token"])
def test_planted_direction_is_recovered(tmp_path, name):
    store = planted_store(tmp_path, groups=200, topic=0.5, noise=0.5)
    truth = planted_directions(24, 2)
    options = {"components": 1} if name == "denoised" else {}
    found = fit_directions(store, extractor=name, options=options)
    for k, label in enumerate(found.labels):
        for layer in found.layers:
            # Three neutral components may take a part of it away.
            bar = 0.85 if name in ("denoised", "logistic") else 0.95
            assert cosine(found.unit(label, layer), truth[k, layer]) > bar


def test_mean_difference_equals_the_means(tmp_path):
    store = planted_store(tmp_path)
    found = fit_directions(store)
    x, rows = store.pooled("resid_post", "last", 1).double(), store.rows
    train = (rows.split == "train").to_numpy()
    a, n = (x[torch.tensor(train & (rows.label == v).to_numpy())].mean(0) for v in ("anger", "neutral"))
    torch.testing.assert_close(found.vector("anger", 1).double(), a - n, rtol=1e-5, atol=1e-5)


def test_midpoint_thresholds_are_the_nearest_mean(tmp_path):
    store = planted_store(tmp_path, strength=1.5)
    found = fit_directions(store)
    x, rows = store.pooled("resid_post", "last", 0).double(), store.rows
    train = torch.tensor((rows.split == "train").to_numpy())
    means = torch.stack(
        [x[train & torch.tensor((rows.label == v).to_numpy())].mean(0) for v in (*found.labels, "neutral")]
    )
    nearest = torch.cdist(x, means).argmin(1)
    assert torch.equal(found.predict(x, 0), nearest)


def test_denoised_has_nothing_along_the_leading_neutral_axes(tmp_path):
    store = planted_store(tmp_path, groups=100)
    found = fit_directions(store, extractor="denoised", options={"components": 4})
    rows = store.rows
    neutral = store.pooled("resid_post", "last", 0)[
        torch.tensor(((rows.split == "train") & (rows.label == "neutral")).to_numpy())
    ].double()
    axes = torch.linalg.svd(neutral - neutral.mean(0)).Vh[:4]
    assert float((found.vectors[:, 0].double() @ axes.T).abs().max()) < 1e-5


def test_pca_sign_follows_the_data(tmp_path):
    store = planted_store(tmp_path, strength=4.0, noise=0.3)
    pca, mean = fit_directions(store, extractor="pca"), fit_directions(store)
    for label in pca.labels:
        assert cosine(pca.vector(label, 0), mean.vector(label, 0)) > 0.9
        # Its length is that of a difference, so that norms are comparable between extractors.
        assert float(pca.vector(label, 0).norm() / mean.vector(label, 0).norm()) == pytest.approx(1, abs=0.1)


def test_whitening_beats_the_mean_difference_where_one_coordinate_is_huge(tmp_path):
    store = planted_store(tmp_path, groups=100, huge=5, strength=4.0, topic=0.2)
    accuracy = {}
    for name in ("mean_difference", "lda"):
        found = fit_directions(store, extractor=name)
        held = torch.tensor((store.rows.split == "test").to_numpy())
        truth = torch.tensor([(*found.labels, "neutral").index(v) for v in store.rows.label])[held]
        x = store.pooled("resid_post", "last", 0)[held]
        accuracy[name] = float((found.predict(x, 0) == truth).float().mean())
    assert accuracy["lda"] > 0.9 > accuracy["mean_difference"] + 0.1


def examples(**changes):
    g = torch.Generator().manual_seed(0)
    fields = dict(
        states=torch.randn(40, 8, generator=g, dtype=torch.float64),
        labels=torch.arange(40) % 4,
        groups=torch.arange(40) // 4,
        names=("gratitude", "anger", "apology", "neutral"),
    )
    return Examples(**{**fields, **changes})


@pytest.mark.parametrize("name", list(EXTRACTORS))
def test_more_dimensions_than_rows_and_constant_coordinates(name):
    g = torch.Generator().manual_seed(0)
    states = torch.randn(40, 200, generator=g, dtype=torch.float64)
    states[:, 3] = 7.0
    found = extract(name, examples(states=states))
    assert bool(torch.isfinite(found.vectors).all())


@pytest.mark.parametrize("name", list(EXTRACTORS))
def test_nan_and_missing_labels_are_errors(name):
    bad = examples().states.clone()
    bad[3, 2] = float("nan")
    with pytest.raises(EmotionCircuitsError, match="NaN"):
        extract(name, examples(states=bad))
    with pytest.raises(EmotionCircuitsError, match="neutral"):
        extract(name, examples(labels=torch.arange(40) % 3))


def test_unknown_names_and_options():
    with pytest.raises(EmotionCircuitsError, match="choose from"):
        extract("magic", examples())
    with pytest.raises(EmotionCircuitsError, match="no option"):
        extract("mean_difference", examples(), {"shrinkage": 0.1})
    with pytest.raises(EmotionCircuitsError, match="shrinkage"):
        extract("lda", examples(), {"shrinkage": 0.0})


def test_paired_needs_pairs():
    with pytest.raises(EmotionCircuitsError, match="pairs"):
        extract("paired", examples(groups=torch.arange(40)))


def test_logistic_is_a_log_odds_against_neutral():
    from sklearn.linear_model import LogisticRegression

    e = examples(states=examples().states + torch.nn.functional.one_hot(torch.arange(40) % 4, 8))
    found = extract("logistic", e, {"strength": 1.0})
    centre, scale = e.states.mean(0), e.states.std(0)
    x = ((e.states - centre) / scale).numpy()
    p = LogisticRegression(C=1.0, max_iter=2000).fit(x, e.labels.numpy()).predict_log_proba(x)
    scores = e.states @ found.vectors.T - found.thresholds
    torch.testing.assert_close(scores, torch.tensor(p[:, :3] - p[:, 3:]), rtol=1e-6, atol=1e-8)


def test_permutation_stays_within_groups():
    import numpy as np

    e = examples()
    shuffled = permute_within(e, np.random.default_rng(0))
    assert not torch.equal(shuffled.labels, e.labels)
    for group in e.groups.unique():
        assert sorted(shuffled.labels[e.groups == group].tolist()) == [0, 1, 2, 3]


def test_midpoints_of_a_unit_direction():
    e = examples()
    v = torch.eye(3, 8, dtype=torch.float64)
    t = midpoint_thresholds(v, e)
    means = e.means
    for k in range(3):
        assert float(t[k]) == pytest.approx(float((means[k, k] + means[3, k]) / 2))


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(2, 30), width=st.integers(2, 30), count=st.integers(1, 6), seed=st.integers(0, 10))
def test_leading_axes_are_the_singular_vectors(rows, width, count, seed):
    x = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found, expected = leading_axes(x, count), torch.linalg.svd(x, full_matrices=False).Vh[:count]
    assert found.shape == expected.shape
    torch.testing.assert_close(found @ found.T, torch.eye(len(found), dtype=torch.float64), rtol=0, atol=1e-8)
    # Signs are free.
    torch.testing.assert_close((found * expected).sum(-1).abs(), torch.ones(len(found)).double(), rtol=0, atol=1e-6)


def test_leading_axes_of_few_dimensions_are_few():
    low = torch.randn(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = low @ torch.randn(2, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert len(leading_axes(x, 5)) == 2


def test_pairs_that_do_not_differ_have_no_direction():
    from emotion_circuits.directions.extractors import Examples, extract

    states = torch.ones(4, 6, dtype=torch.float64)
    same = Examples(states, torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1]), ("joy", "neutral"))
    assert not bool(extract("pca", same).vectors.any())


@given(st.integers(2, 40), st.integers(1, 40), st.floats(0.01, 1.0), st.integers(0, 99))
@settings(deadline=None)
def test_a_shrunk_covariance_is_solved_alike_in_both_spaces(rows, d, shrinkage, seed):
    g = torch.Generator().manual_seed(seed)
    x, to = (torch.randn(n, d, dtype=torch.float64, generator=g) for n in (rows, 3))
    covariance = shrinkage * torch.eye(d, dtype=torch.float64) + (1 - shrinkage) * x.T @ x / rows
    expected = torch.linalg.solve(covariance, to.T).T
    torch.testing.assert_close(shrunk_solve(x, to, shrinkage), expected, atol=1e-9, rtol=1e-9)
