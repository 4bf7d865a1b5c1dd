"""One to one assignment of least cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Pairs = list[tuple[int, int]]


def assign(cost: Floats, limit: float = 1.0) -> Pairs:
    """Return the pairs (row, column) of least total cost, each row and column at most once.

    A row or column that is left out costs ``limit / 2``, so a pair is never dearer than
    ``limit``. The result is exact: rows and columns that no allowed pair connects are solved
    apart, each by the Hungarian method with shortest augmenting paths (Jonker and Volgenant 1987).

    :param cost: (N, M); infinite or at least ``limit`` where a pair is not allowed.

    >>> assign(np.array([[0.1, 0.2], [0.1, 0.9]]))
    [(0, 1), (1, 0)]
    >>> assign(np.array([[0.1, 2.0], [0.2, 2.0]]))
    [(0, 0)]
    """
    allowed = cost < limit
    pairs: Pairs = []
    for rows, columns in _islands(allowed):
        if len(rows) == 1 or len(columns) == 1:
            part = cost[np.ix_(rows, columns)]
            row, column = np.unravel_index(int(part.argmin()), part.shape)
            pairs.append((rows[row], columns[column]))
            continue
        part = np.minimum(cost[np.ix_(rows, columns)], limit)
        solved = _solve(part) if len(rows) <= len(columns) else _swapped(_solve(part.T))
        pairs += [(rows[i], columns[j]) for i, j in solved if part[i, j] < limit]
    return sorted(pairs)


def _swapped(pairs: Pairs) -> Pairs:
    return [(j, i) for i, j in pairs]


def _islands(allowed: NDArray[np.bool_]) -> list[tuple[list[int], list[int]]]:
    """Return rows and columns of each set that allowed pairs connect."""
    found = []
    left = set(np.flatnonzero(allowed.any(axis=1)).tolist())
    while left:
        rows, columns = {left.pop()}, set[int]()
        new = list(rows)
        while new:
            reached = set(np.flatnonzero(allowed[new].any(axis=0)).tolist()) - columns
            columns |= reached
            new = list(left & set(np.flatnonzero(allowed[:, list(reached)].any(axis=1)).tolist()))
            rows |= set(new)
            left -= set(new)
        found.append((sorted(rows), sorted(columns)))
    return found


def _solve(cost: Floats) -> Pairs:
    """Return the assignment of all rows, of which there are at most as many as columns.

    Row and column 0 of the tables below are auxiliary.
    """
    rows, columns = cost.shape
    row_price, column_price = np.zeros(rows + 1), np.zeros(columns + 1)
    row_of = np.zeros(columns + 1, np.intp)
    before = np.zeros(columns + 1, np.intp)
    for row in range(1, rows + 1):
        row_of[0] = row
        least = np.full(columns + 1, np.inf)
        free = np.ones(columns + 1, np.bool_)
        column = 0
        while True:
            free[column] = False
            at = row_of[column]
            reduced = cost[at - 1] - row_price[at] - column_price[1:]
            better = free[1:] & (reduced < least[1:])
            least[1:][better] = reduced[better]
            before[1:][better] = column
            nearest = int(np.where(free, least, np.inf).argmin())
            step = least[nearest]
            row_price[row_of[~free]] += step
            column_price[~free] -= step
            least[free] -= step
            column = nearest
            if not row_of[column]:
                break
        while column:
            row_of[column] = row_of[before[column]]
            column = int(before[column])
    return [(int(row_of[j]) - 1, j - 1) for j in range(1, columns + 1) if row_of[j]]
