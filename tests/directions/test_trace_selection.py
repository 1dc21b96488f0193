"""A null that chooses its own parts: exact where nothing is there, whatever the parts' spread, and blind to nothing that is."""

import numpy as np
import pytest
from scipy.stats import binomtest

from emotion_circuits.directions.trace_selection import through_selection
from emotion_circuits.errors import EmotionCircuitsError


def drawn(rng, directions=121, parts=60):
    """Directions of nothing: a part's figure persists from validation to test, parts differ in spread a hundredfold."""
    spread = np.geomspace(0.02, 2.0, parts)
    lasting = rng.normal(size=(directions, parts))
    return [spread * (lasting + 0.5 * rng.normal(size=lasting.shape)) for _ in range(2)]


@pytest.mark.parametrize("two_sided", [True, False])
def test_a_direction_like_its_nulls_is_called_special_at_the_level_only(two_sided):
    rng = np.random.default_rng(5)
    own, given = np.zeros(3, dtype=int), 0
    for _ in range(400):
        validation, test = drawn(rng)
        found = through_selection(validation, test, top=3, two_sided=two_sided)
        own += found.p <= 0.05
        # The null as it was: what other directions do at the part that this one chose.
        part, side = found.parts[0], np.sign(validation[0, found.parts[0]]) if two_sided else 1
        given += (1 + (side * test[1:, part] >= side * test[0, part]).sum()) / len(test) <= 0.05
    for hits in own:
        assert binomtest(int(hits), 400, 0.05, alternative="greater").pvalue > 0.001
    assert binomtest(int(given), 400, 0.05, alternative="greater").pvalue < 1e-6


def test_what_is_there_is_found_at_its_rank():
    validation, test = drawn(np.random.default_rng(6))
    for split in (validation, test):
        split[0, 7] = -9.0
    found = through_selection(validation, test, top=2, two_sided=True)
    assert found.parts[0] == 7
    assert found.p[0] == pytest.approx(1 / 121)
    assert found.p[1] > 0.05
    assert found.null.shape == (120, 2)
    low, high = found.ends()
    assert -9 < low[0] < 0 < high[0] < 9


def test_a_part_that_changes_sides_on_test_confirms_nothing():
    validation, test = drawn(np.random.default_rng(7))
    validation[0, 7], test[0, 7] = 9.0, -9.0
    assert through_selection(validation, test, top=1, two_sided=True).p[0] == 1


def test_ties_count_against_a_claim():
    same = np.ones((5, 3))
    assert through_selection(same, same, top=2, two_sided=False).p.tolist() == [1, 1]


@pytest.mark.parametrize("bad", [np.ones((1, 3)), np.ones(3), np.full((4, 3), np.nan), np.ones((4, 0))])
def test_figures_that_are_none_are_refused(bad):
    with pytest.raises(EmotionCircuitsError, match="selection needs"):
        through_selection(bad, bad, top=1, two_sided=False)
