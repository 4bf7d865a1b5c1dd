"""How well ids last: IDF1, id switches and HOTA of a sequence.

The definitions are those of TrackEval 1.3 (IDF1: Ristani et al. 2016; switches: Bernardin and
Stiefelhagen 2008; HOTA: Luiten et al. 2021). A test compares with figures that it computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.tracks.assignment import assign

Floats = NDArray[np.float64]

SAME = 0.5
"""Overlap from which a mask shows a true object, for IDF1 and switches."""
ALPHAS = np.arange(0.05, 0.99, 0.05)
"""Overlaps over which HOTA is averaged."""
EPS = float(np.finfo("float").eps)


@dataclass(frozen=True)
class Step:
    """One frame.

    :param truths: ids of the objects that are to be seen, none twice.
    :param found: ids that were given, none twice.
    :param overlap: (truths, found) IoU of their masks.
    """

    truths: tuple[int, ...]
    found: tuple[int, ...]
    overlap: Floats


@dataclass(frozen=True)
class IdentityFigures:
    """Figures of one sequence.

    :param idf1: share of sightings with the id that the object has mostly, 0 to 1.
    :param switches: how often an object's id changed.
    :param hota: detection and association alike, 0 to 1; ``association`` is its part AssA.
    """

    idf1: float
    switches: int
    hota: float
    association: float


def identity(steps: Sequence[Step]) -> IdentityFigures:
    """Return the figures of a sequence."""
    hota, association = _hota(steps)
    return IdentityFigures(_idf1(steps), _switches(steps), hota, association)


def _idf1(steps: Sequence[Step]) -> float:
    """Return IDF1: one id for each object over all frames, chosen for the most hits."""
    hits: Counter[tuple[int, int]] = Counter()
    for step in steps:
        for i, j in zip(*np.nonzero(step.overlap >= SAME), strict=True):
            hits[step.truths[i], step.found[j]] += 1
    truths = sorted({a for a, _ in hits})
    found = sorted({b for _, b in hits})
    table = np.zeros((len(truths), len(found)))
    for (a, b), count in hits.items():
        table[truths.index(a), found.index(b)] = count
    right = sum(table[i, j] for i, j in assign(-table, 0.0))
    total = sum(len(step.truths) + len(step.found) for step in steps)
    return float(2 * right / total) if total else 1.0


def _switches(steps: Sequence[Step]) -> int:
    """Return how often an object has another id than at its last sighting; ids that go on are
    preferred where several masks fit.
    """
    last: dict[int, int] = {}
    before: dict[int, int] = {}
    switches = 0
    for step in steps:
        goes_on = np.array(
            [[float(before.get(a) == b) for b in step.found] for a in step.truths]
        ).reshape(step.overlap.shape)
        score = np.where(step.overlap >= SAME - EPS, 1000 * goes_on + step.overlap, 0.0)
        before = {}
        for i, j in assign(-score, 0.0):
            truth, number = step.truths[i], step.found[j]
            switches += last.get(truth, number) != number
            last[truth] = before[truth] = number
    return switches


def _hota(steps: Sequence[Step]) -> tuple[float, float]:
    """Return HOTA and its part AssA, averaged over :data:`ALPHAS`."""
    truth_count = Counter(a for step in steps for a in step.truths)
    found_count = Counter(b for step in steps for b in step.found)
    rows = {a: k for k, a in enumerate(sorted(truth_count))}
    columns = {b: k for k, b in enumerate(sorted(found_count))}
    if not rows or not columns:
        return float(not rows and not columns), float(not rows and not columns)
    potential = np.zeros((len(rows), len(columns)))
    for step in steps:
        if step.overlap.size:
            shared = step.overlap.sum(0)[None] + step.overlap.sum(1)[:, None] - step.overlap
            at = np.ix_([rows[a] for a in step.truths], [columns[b] for b in step.found])
            potential[at] += np.where(shared > EPS, step.overlap / np.maximum(shared, EPS), 0)
    truths = np.array([truth_count[a] for a in rows])[:, None]
    found = np.array([found_count[b] for b in columns])[None]
    alike = potential / np.maximum(truths + found - potential, EPS)
    matched = np.zeros((len(ALPHAS), len(rows), len(columns)))
    for step in steps:
        if not step.overlap.size:
            continue
        at = np.ix_([rows[a] for a in step.truths], [columns[b] for b in step.found])
        for i, j in assign(-alike[at] * step.overlap, 0.0):
            right = step.overlap[i, j] >= ALPHAS - EPS
            matched[right, rows[step.truths[i]], columns[step.found[j]]] += 1
    hits = matched.sum((1, 2))
    associations = (matched * matched / np.maximum(truths + found - matched, 1)).sum((1, 2))
    associations /= np.maximum(hits, 1)
    detections = hits / np.maximum(truths.sum() + found.sum() - hits, 1)
    return float(np.sqrt(associations * detections).mean()), float(associations.mean())
