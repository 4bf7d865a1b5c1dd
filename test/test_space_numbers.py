"""Small numerical functions agree with numpy's to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from clip_surgery_ros.space.numbers import cross, median, quantiles

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(3,), (40, 3), (0, 3), (2, 5, 3)])
def test_cross_products(shape: tuple[int, ...]) -> None:
    a, b = RNG.normal(size=(2, *shape))
    np.testing.assert_array_equal(cross(a, b), np.cross(a, b))


@pytest.mark.parametrize("count", [1, 2, 3, 10, 11, 2001])
@pytest.mark.parametrize("columns", [(), (2,), (3,)])
def test_quantiles(count: int, columns: tuple[int, ...]) -> None:
    values = RNG.normal(size=(count, *columns))
    shares = [0.0, 0.005, 0.3, 0.5, 0.995, 1.0]
    expected = np.quantile(values, shares, axis=0)
    np.testing.assert_array_equal(quantiles(values, *shares), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 2, 3, 100, 101])
def test_medians(count: int, dtype: type) -> None:
    values = RNG.normal(size=count).astype(dtype)
    assert median(values) == np.median(values)
