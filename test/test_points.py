"""Prompt points: positions, peaks, and degenerate maps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from clip_surgery_ros.core.points import (
    MAX_PEAKS,
    _middle_cells,
    combined_points,
    instance_points,
    reference_points,
)


def grid(rows: int, columns: int, **cells: float) -> np.ndarray:
    """A flat zero map with values at ``r<row>c<column>``."""
    values = np.zeros((rows, columns), np.float32)
    for name, value in cells.items():
        row, column = name[1:].split("c")
        values[int(row), int(column)] = value
    return values.reshape(-1)


def test_constant_map_has_no_points() -> None:
    flat = np.full(64, 0.25, np.float32)
    assert len(reference_points(flat, (8, 8), (80, 80))[0]) == 0
    assert len(combined_points([flat, flat], (8, 8), (80, 80))[0]) == 0
    assert instance_points(flat, (8, 8), (80, 80)) == []


def test_points_are_positives_then_as_many_negatives() -> None:
    values = np.random.default_rng(0).random(64).astype(np.float32)
    _, labels = reference_points(values, (8, 8), (80, 80), threshold=0.6)
    half = len(labels) // 2
    assert half > 0
    assert labels.tolist() == [1] * half + [0] * half


def test_last_positive_is_the_centre_of_the_best_cell() -> None:
    # Two by two tokens of value 1 fill one cell of the half grid: rows 2-3, columns 4-5 of 8 x 8.
    values = grid(8, 8, r2c4=1, r2c5=1, r3c4=1, r3c5=1)
    xy, labels = reference_points(values, (8, 8), (160, 320))
    best = xy[labels == 1][-1]
    # Cell row 1, column 2 of 4 x 4: centre at (2.5 / 4 * 320, 1.5 / 4 * 160).
    assert best.tolist() == [200, 60]


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 200)])
def test_points_are_inside_the_image(size_hw: tuple[int, int]) -> None:
    values = np.random.default_rng(1).random(36).astype(np.float32)
    xy, _ = reference_points(values, (6, 6), size_hw)
    assert (xy >= 0).all()
    assert (xy[:, 0] < size_hw[1]).all()
    assert (xy[:, 1] < size_hw[0]).all()


def test_positives_are_at_most_half_of_the_cells() -> None:
    values = np.ones(64, np.float32)
    values[0] = 0
    _, labels = reference_points(values, (8, 8), (80, 80))
    assert labels.sum() == 8  # 16 cells on the half grid


def test_every_local_maximum_gives_a_click_highest_first() -> None:
    values = grid(8, 8, r1c1=0.9, r1c2=0.85, r6c6=1.0, r6c1=0.3)
    sets = instance_points(values, (8, 8), (80, 80))
    assert [points[0].tolist() for points in sets] == [[[65, 65]], [[15, 15]]]
    assert all((labels == 1).all() for _, labels in sets)


def test_plateau_gives_one_click_in_its_middle() -> None:
    values = np.zeros((8, 8), np.float32)
    values[1:4, 1:6] = 1
    ((xy, _),) = instance_points(values.reshape(-1), (8, 8), (80, 80))
    assert xy.tolist() == [[35, 25]]


def test_number_of_clicks_is_limited() -> None:
    checks = (np.indices((16, 16)) % 2 == 0).all(axis=0).astype(np.float32)
    assert len(instance_points(checks.reshape(-1), (16, 16), (16, 16))) == MAX_PEAKS
    assert instance_points(np.ones(64, np.float32), (8, 8), (8, 8)) == []


def test_prompt_of_a_plateau_is_the_cell_nearest_to_its_centre() -> None:
    """Maps of few values have plateaus of all shapes, also with several nearest cells."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        cells = rng.integers(0, 3, (9, 12)).astype(np.uint8)
        _, plateaus, _, centres = cv2.connectedComponentsWithStats(cells // 2)
        expected = []
        for number in range(1, len(centres)):
            rows, columns = np.nonzero(plateaus == number)
            distances = (columns - centres[number][0]) ** 2 + (rows - centres[number][1]) ** 2
            nearest = distances.argmin()
            expected.append(rows[nearest] * 12 + columns[nearest])
        assert _middle_cells(plateaus, centres).tolist() == expected
    assert _middle_cells(np.zeros((2, 2), np.int32), np.zeros((1, 2))).tolist() == []
