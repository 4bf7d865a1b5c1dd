"""An image seen before costs no encoder, and a still camera none if one wishes so."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from clip_surgery_ros.core.pipeline import Pipeline
from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.types import FrameResult, Wanted
from clip_surgery_ros.core.views import CAPACITY, Views
from clip_surgery_ros.networks.factory import LoadedNetworks, load_networks
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.world.scenes import SPLITS, SceneGenerator

ENCODERS = {"clip", "sam encoder"}
SCENE = SceneGenerator().scene(SPLITS["held_out"].start + 29)
QUERY = parse_query("; ".join(SCENE.names))


@pytest.fixture(scope="module")
def networks() -> LoadedNetworks:
    return load_networks(Config.from_values())


def pipeline(networks: LoadedNetworks, **values: float) -> Pipeline:
    config = Config.from_values({"presence_threshold": 0.0, **values})
    return networks.pipeline(config)


def noisy(image: NDArray[np.uint8], seed: int, sigma: float = 3.0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def check_same(one: FrameResult, two: FrameResult) -> None:
    np.testing.assert_array_equal(one.similarity, two.similarity)
    assert len(one.segments) == len(two.segments) > 0
    for a, b in zip(one.segments, two.segments, strict=True):
        assert (a.name, a.box, a.score) == (b.name, b.box, b.score)
        np.testing.assert_array_equal(a.mask, b.mask)


def test_the_same_pixels_are_not_encoded_again_and_give_the_same(
    networks: LoadedNetworks,
) -> None:
    one = pipeline(networks)
    first = one.run(SCENE.image, QUERY)
    again = one.run(SCENE.image.copy(), QUERY)
    assert set(first.stage_seconds) >= ENCODERS
    assert not ENCODERS & set(again.stage_seconds)
    check_same(first, again)


def test_the_same_question_is_answered_at_once_and_another_is_not_mistaken_for_it(
    networks: LoadedNetworks,
) -> None:
    one = pipeline(networks)
    first = one.run(SCENE.image, QUERY)
    again = one.run(SCENE.image, QUERY)
    assert again.stage_seconds == {} and again.segments is first.segments
    later = parse_query("; ".join(SCENE.names), sequence=QUERY.sequence + 1)
    assert one.run(SCENE.image, later).query.sequence == QUERY.sequence + 1
    assert one.run(SCENE.image, later, Wanted(segments=False)).segments == ()


def test_another_query_on_the_same_image_is_as_if_it_were_asked_first(
    networks: LoadedNetworks,
) -> None:
    one = pipeline(networks)
    one.run(SCENE.image, parse_query("car"), Wanted(segments=False))
    after = one.run(SCENE.image, QUERY)
    assert ENCODERS & set(after.stage_seconds) == {"sam encoder"}
    check_same(pipeline(networks).run(SCENE.image, QUERY), after)


def test_an_array_that_is_filled_anew_is_another_image(networks: LoadedNetworks) -> None:
    one, array = pipeline(networks), SCENE.image.copy()
    one.run(array, QUERY)
    array[:] = array[::-1]
    assert set(one.run(array, QUERY).stage_seconds) >= ENCODERS


def test_one_changed_pixel_is_another_image_unless_the_view_may_be_still(
    networks: LoadedNetworks,
) -> None:
    changed = SCENE.image.copy()
    changed[100, 100] ^= 1
    for threshold, encoded in ((0.0, True), (4.0, False)):
        one = pipeline(networks, still_threshold=threshold)
        one.run(SCENE.image, QUERY)
        again = one.run(changed, QUERY)
        assert (set(again.stage_seconds) >= ENCODERS) == encoded


def test_a_still_camera_is_answered_from_what_is_known_until_something_moves(
    networks: LoadedNetworks,
) -> None:
    one = pipeline(networks, still_threshold=4.0)
    one.run(noisy(SCENE.image, 0), QUERY)
    for seed in (1, 2, 3):
        again = one.run(noisy(SCENE.image, seed), QUERY)
        assert not ENCODERS & set(again.stage_seconds)
    moved = noisy(SCENE.image, 4)
    moved[40:72, 40:72] = 255 - moved[40:72, 40:72]  # as small as anything one would grasp
    assert set(one.run(moved, QUERY).stage_seconds) >= ENCODERS


def test_a_slow_change_does_not_creep_past(networks: LoadedNetworks) -> None:
    """Every image is compared with the one that was encoded, not with the one before."""
    views = Views(still_threshold=4.0)
    grey = np.full((64, 64, 3), 100, np.uint8)
    first = views.view_of(grey)
    seen = [views.view_of(grey + step) is first for step in range(1, 8)]
    assert seen == [True] * 4 + [False] * 3


def test_only_the_images_used_last_are_kept() -> None:
    views = Views()
    images = [np.full((32, 32, 3), value, np.uint8) for value in range(CAPACITY + 1)]
    kept = [views.view_of(image) for image in images]
    assert views.view_of(images[-1]) is kept[-1]
    assert views.view_of(images[1]) is kept[1]
    assert views.view_of(images[0]) is not kept[0]


def test_images_of_other_sizes_are_no_still_view() -> None:
    views = Views(still_threshold=255.0)
    first = views.view_of(np.zeros((32, 48, 3), np.uint8))
    assert views.view_of(np.zeros((48, 32, 3), np.uint8)) is not first
    assert views.view_of(np.zeros((8, 8, 3), np.uint8)) is not first
