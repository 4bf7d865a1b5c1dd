"""Repeated images run no encoder; similar images run none with a still threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ros.known_scene import known_scene

from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.types import FrameResult, Wanted
from clip_surgery_ros.core.views import CAPACITY, Views
from clip_surgery_ros.networks.factory import LoadedNetworks
from clip_surgery_ros.parameters.config import Config

ENCODERS = {"clip", "sam encoder"}
SCENE = known_scene()
QUERY = parse_query("; ".join(SCENE.names))


def pipeline(networks: LoadedNetworks, **values: float) -> Pipeline:
    config = Config.from_values({"presence_threshold": 0.0, **values})
    return networks.pipeline(config)


def noisy(image: NDArray[np.uint8], seed: int, sigma: float = 3.0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def check_equal(first: FrameResult, second: FrameResult) -> None:
    np.testing.assert_array_equal(first.similarity, second.similarity)
    assert len(first.segments) == len(second.segments) > 0
    for a, b in zip(first.segments, second.segments, strict=True):
        assert (a.name, a.box, a.score) == (b.name, b.box, b.score)
        np.testing.assert_array_equal(a.mask, b.mask)


def test_equal_pixels_are_not_encoded_again(
    networks: LoadedNetworks,
) -> None:
    runner = pipeline(networks)
    first = runner.run(SCENE.image, QUERY)
    second = runner.run(SCENE.image.copy(), QUERY)
    assert set(first.stage_seconds) >= ENCODERS
    assert not ENCODERS & set(second.stage_seconds)
    check_equal(first, second)


def test_same_query_on_the_same_image_returns_the_cached_result(
    networks: LoadedNetworks,
) -> None:
    runner = pipeline(networks)
    first = runner.run(SCENE.image, QUERY)
    second = runner.run(SCENE.image, QUERY)
    assert second.stage_seconds == {} and second.segments is first.segments
    later = parse_query("; ".join(SCENE.names), sequence=QUERY.sequence + 1)
    assert runner.run(SCENE.image, later).query.sequence == QUERY.sequence + 1
    assert runner.run(SCENE.image, later, Wanted(segments=False)).segments == ()


def test_second_query_on_an_image_gives_the_same_result_as_a_first_one(
    networks: LoadedNetworks,
) -> None:
    runner = pipeline(networks)
    runner.run(SCENE.image, parse_query("car"), Wanted(segments=False))
    after = runner.run(SCENE.image, QUERY)
    assert ENCODERS & set(after.stage_seconds) == {"sam encoder"}
    check_equal(pipeline(networks).run(SCENE.image, QUERY), after)


def test_overwritten_array_is_a_new_image(networks: LoadedNetworks) -> None:
    runner, array = pipeline(networks), SCENE.image.copy()
    runner.run(array, QUERY)
    array[:] = array[::-1]
    assert set(runner.run(array, QUERY).stage_seconds) >= ENCODERS


def test_one_changed_pixel_is_a_new_image_without_still_threshold(
    networks: LoadedNetworks,
) -> None:
    changed = SCENE.image.copy()
    changed[100, 100] ^= 1
    for threshold, encoded in ((0.0, True), (4.0, False)):
        runner = pipeline(networks, still_threshold=threshold)
        runner.run(SCENE.image, QUERY)
        second = runner.run(changed, QUERY)
        assert (set(second.stage_seconds) >= ENCODERS) == encoded


def test_still_view_runs_no_encoder_until_something_moves(
    networks: LoadedNetworks,
) -> None:
    runner = pipeline(networks, still_threshold=4.0)
    runner.run(noisy(SCENE.image, 0), QUERY)
    for seed in (1, 2, 3):
        second = runner.run(noisy(SCENE.image, seed), QUERY)
        assert not ENCODERS & set(second.stage_seconds)
    moved = noisy(SCENE.image, 4)
    moved[40:72, 40:72] = 255 - moved[40:72, 40:72]  # as small as the smallest object to grasp
    assert set(runner.run(moved, QUERY).stage_seconds) >= ENCODERS


def test_slow_change_is_detected(networks: LoadedNetworks) -> None:
    """Each image is compared with the encoded one, not with the previous one."""
    views = Views(still_threshold=4.0)
    grey = np.full((64, 64, 3), 100, np.uint8)
    first = views.view_of(grey)
    is_same = [views.view_of(grey + step) is first for step in range(1, 8)]
    assert is_same == [True] * 4 + [False] * 3


def test_views_keep_the_most_recently_used_images() -> None:
    views = Views()
    images = [np.full((32, 32, 3), value, np.uint8) for value in range(CAPACITY + 1)]
    kept = [views.view_of(image) for image in images]
    assert views.view_of(images[-1]) is kept[-1]
    assert views.view_of(images[1]) is kept[1]
    assert views.view_of(images[0]) is not kept[0]


def test_image_of_another_size_is_no_still_view() -> None:
    views = Views(still_threshold=255.0)
    first = views.view_of(np.zeros((32, 48, 3), np.uint8))
    assert views.view_of(np.zeros((48, 32, 3), np.uint8)) is not first
    assert views.view_of(np.zeros((8, 8, 3), np.uint8)) is not first
