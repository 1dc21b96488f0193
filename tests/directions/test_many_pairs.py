"""Many values: pairs of directions are shown together, like beside like, and none is claimed by itself."""

from itertools import combinations

import numpy as np
import pandas as pd

from emotion_circuits.stations.directions.claims import MOST_PAIRS, cosine_claims
from emotion_circuits.stations.directions.figures import cosine_matrix


def cosines(count):
    """Two bundles of directions that lie apart, their members told in turn."""
    return pd.DataFrame(
        {
            "pair": f"v{a} – v{b}", "layer": layer, "cosine": 0.8 if (a - b) % 2 == 0 else 0.1, "low": 0.0, "high": 0.9,
            "chance": 0.1, "shared": 0.3, "shared_low": 0.2, "shared_high": 0.4, "p": 0.01,
        }
        for layer in (0, 1)
        for a, b in combinations(range(count), 2)
    )  # fmt: skip


def test_few_pairs_are_claimed_and_many_are_not():
    few, many = cosines(6), cosines(7)
    assert few["pair"].nunique() == MOST_PAIRS
    assert len(cosine_claims(few, layer=1, groups=9)) == MOST_PAIRS
    assert cosine_claims(many, layer=1, groups=9) == []


def test_the_matrix_puts_like_beside_like_and_counts_from_shuffled_labels():
    (heat,) = cosine_matrix(cosines(8), 1).data
    order = [int(name[1:]) % 2 for name in heat.x]
    assert list(heat.x) == list(heat.y)
    assert order in ([0] * 4 + [1] * 4, [1] * 4 + [0] * 4)
    z = np.array(heat.z, dtype=float)
    assert np.isnan(np.diag(z)).all()
    np.testing.assert_allclose(z, z.T)
    assert np.nanmax(z) == np.float64(0.8 - 0.3)
    assert np.nanmin(z) == np.float64(0.1 - 0.3)
