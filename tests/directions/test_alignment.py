import numpy as np
import pytest
import torch

from emotion_circuits.directions.alignment import (
    METHODS,
    explained_variance,
    fit_map,
    mapped_overlap,
    random_map,
)
from emotion_circuits.directions.subspaces import (
    linear_cka,
    orthonormal_basis,
    overlap,
    overlap_chance,
    overlap_null,
    principal_angles,
    principal_subspace,
    rsa,
)
from emotion_circuits.errors import EmotionCircuitsError


def gaussian(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(d, seed=9):
    return torch.linalg.qr(gaussian(seed, d, d)).Q


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n", "d_a", "d_b"), [(150, 32, 32), (40, 64, 64), (40, 64, 48)])
def test_independent_gaussians_stay_at_chance(method, n, d_a, d_b):
    overlaps, explained = [], []
    for seed in range(6):
        a, b = gaussian(seed, 2 * n, d_a), gaussian(seed + 100, 2 * n, d_b)
        fitted = fit_map(a[:n], b[:n], method=method)
        explained.append(explained_variance(fitted, a[n:], b[n:]))
        overlaps.append(mapped_overlap(fitted, gaussian(seed + 200, 3, d_a), gaussian(seed + 300, 3, d_b)))
        # Also for directions taken from the very states the map was fitted on.
        assert mapped_overlap(fitted, a[n : n + 3], b[n : n + 3]) < 0.35
    chance = overlap_chance(d_b, 3, 3)
    null = overlap_null(d_b, 3, 3, draws=400)
    assert null.mean() == pytest.approx(chance, rel=0.1)
    assert np.mean(overlaps) == pytest.approx(chance, abs=4 * null.std() / np.sqrt(6))
    assert max(explained) < 0.02


@pytest.mark.parametrize("method", ["ridge", "procrustes"])
def test_planted_rotation_is_recovered(method):
    d, n = 32, 400
    q = rotation(d)
    a = gaussian(0, 2 * n, d)
    b = 2.0 * a @ q + 0.2 * gaussian(1, 2 * n, d) + 5.0
    fitted = fit_map(a[:n], b[:n], method=method)
    assert float((fitted.matrix - 2 * q).norm() / (2 * q).norm()) < 0.05
    assert explained_variance(fitted, a[n:], b[n:]) > 0.98
    directions = gaussian(3, 3, d)
    assert mapped_overlap(fitted, directions, directions @ q) > 0.99
    # The transposed rotation is another map: a test that cannot see the difference would be none.
    assert mapped_overlap(fitted, directions, directions @ q.T) < 0.4


def test_reduced_rank_finds_the_rank_that_is_there():
    d, n = 40, 300
    low = gaussian(5, d, 2) @ gaussian(6, 2, d)
    a = gaussian(0, 2 * n, d)
    b = a @ low + 0.5 * gaussian(1, 2 * n, d)
    fitted = fit_map(a[:n], b[:n], method="reduced_rank")
    assert fitted.rank == 2
    assert explained_variance(fitted, a[n:], b[n:]) >= explained_variance(fit_map(a[:n], b[:n]), a[n:], b[n:]) - 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_shuffled_pairs_and_random_maps_are_at_chance(method):
    d, n = 32, 300
    a = gaussian(0, 2 * n, d)
    b = a @ rotation(d) + 0.1 * gaussian(1, 2 * n, d)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(4))
    shuffled = fit_map(a[:n], b[:n][order], method=method)
    assert explained_variance(shuffled, a[n:], b[n:]) < 0.02
    assert explained_variance(random_map(shuffled), a[n:], b[n:]) < 0.02


@pytest.mark.parametrize("method", METHODS)
def test_singular_and_degenerate_inputs(method):
    a, b = gaussian(0, 40, 64), gaussian(1, 40, 64)
    a[:, 5:] = a[:, :5] @ gaussian(2, 5, 59)  # rank 5, n < d
    b[:, 7] = 3.0  # a coordinate that does not vary
    fitted = fit_map(a, b, method=method)
    assert bool(torch.isfinite(fitted.matrix).all())
    assert explained_variance(fitted, gaussian(3, 40, 64), gaussian(4, 40, 64)) < 0.05
    for value in (float("nan"), float("inf")):
        bad = a.clone()
        bad[3, 3] = value
        with pytest.raises(EmotionCircuitsError, match="NaN or infinity"):
            fit_map(bad, b, method=method)
    with pytest.raises(EmotionCircuitsError, match="do not vary"):
        fit_map(torch.ones(40, 8), b, method=method)
    with pytest.raises(EmotionCircuitsError, match="same sentences"):
        fit_map(a[:39], b, method=method)
    with pytest.raises(EmotionCircuitsError, match="too few"):
        fit_map(a[:9], b[:9], method=method)
    # An overflow of half precision arrives as infinity.
    with pytest.raises(EmotionCircuitsError, match="overflow"):
        fit_map((a * 1e5).half(), b.half(), method=method)
    wide = (gaussian(6, 40, 16) * 1e30).bfloat16()
    assert bool(torch.isfinite(fit_map(wide, b[:, :16].bfloat16(), method=method).matrix).all())


def test_overlap_of_known_subspaces():
    e = torch.eye(10, dtype=torch.float64)
    assert overlap(e[:, :3], e[:, :3]) == pytest.approx(1)
    assert overlap(e[:, :3], e[:, 3:6]) == 0
    assert overlap(e[:, :2], e[:, 1:4]) == pytest.approx(0.5)
    assert principal_angles(e[:, :2], e[:, 1:3]) == pytest.approx([0, 90], abs=1e-6)
    with pytest.raises(EmotionCircuitsError, match="orthonormal"):
        overlap(2 * e[:, :2], e[:, :2])
    with pytest.raises(EmotionCircuitsError, match="share no axes"):
        overlap(e[:, :2], torch.eye(12, dtype=torch.float64)[:, :2])
    assert orthonormal_basis(torch.stack([e[0], 2 * e[0], e[1]])).shape == (10, 2)
    with pytest.raises(EmotionCircuitsError, match="every vector is 0"):
        orthonormal_basis(torch.zeros(2, 4))
    with pytest.raises(EmotionCircuitsError, match="vary in 2"):
        principal_subspace(gaussian(0, 20, 2) @ gaussian(1, 2, 10), 3)


def test_cka_and_rsa_of_unrelated_and_rotated_data():
    x = gaussian(0, 60, 200)
    unrelated = [linear_cka(x, gaussian(s, 60, 150)) for s in range(1, 9)]
    assert abs(np.mean(unrelated)) < 0.05
    assert linear_cka(x, 3 * x @ rotation(200) + 7) == pytest.approx(1, abs=1e-6)
    value, low, high = rsa(x, gaussian(1, 60, 150), draws=100)
    assert low - 0.03 < value < high + 0.03
    value, low, high = rsa(x, x @ rotation(200), draws=100)
    assert value > 0.99 > high
    with pytest.raises(EmotionCircuitsError, match="do not vary"):
        linear_cka(torch.ones(10, 3), gaussian(1, 10, 3))
