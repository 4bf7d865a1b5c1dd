"""One to one assignment against all permutations."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from clip_surgery_ros.tracks.assignment import assign


def least_total(cost: np.ndarray, limit: float) -> float:
    """Return the least total by trying every assignment; leaving a row out costs the limit."""
    rows, columns = cost.shape
    padded = np.full((rows, columns + rows), limit)
    padded[:, :columns] = np.minimum(cost, limit)
    return min(
        sum(padded[i, j] for i, j in enumerate(chosen))
        for chosen in permutations(range(columns + rows), rows)
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (3, 3), (4, 3), (3, 4)])
@pytest.mark.parametrize("spread", [0.6, 1.0, 2.0])
def test_total_cost_is_the_least_of_all_assignments(shape: tuple, spread: float) -> None:
    rng = np.random.default_rng([*shape, int(10 * spread)])
    for _ in range(25):
        cost = rng.random(shape) * spread
        pairs = assign(cost)
        assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
        assert all(cost[i, j] < 1 for i, j in pairs)
        total = sum(cost[i, j] for i, j in pairs) + (shape[0] - len(pairs))
        assert total == pytest.approx(least_total(cost, 1.0))


def test_pairs_that_are_not_allowed_are_left_out() -> None:
    cost = np.array([[np.inf, 0.2, np.inf], [np.inf, 0.1, np.inf], [0.9, np.inf, np.inf]])
    assert assign(cost) == [(1, 1), (2, 0)]


def test_nothing_gives_nothing() -> None:
    assert assign(np.zeros((0, 3))) == []
    assert assign(np.zeros((3, 0))) == []


def test_fifty_alike_objects_are_assigned_exactly() -> None:
    rng = np.random.default_rng(7)
    order = rng.permutation(50)
    cost = 0.5 + 0.4 * rng.random((50, 50))
    cost[np.arange(50), order] = 0.1 * rng.random(50)
    assert assign(cost) == [(i, int(j)) for i, j in enumerate(order)]
