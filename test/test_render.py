"""Drawing of overlays, maps, points and panel grids at any size."""

from __future__ import annotations

import numpy as np
import pytest

from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.types import AbsentLabel, Box, FrameResult, PointPrompts, Segment
from clip_surgery_ros.pictures import render


def result(size_hw: tuple[int, int]) -> FrameResult:
    height, width = size_hw
    points = PointPrompts(np.array([[width // 2, height // 2]], np.int32), np.ones(1, np.bool_))
    box = Box(width // 4, height // 4, width // 2, height // 2)
    mask = np.ones((box.height, box.width), np.bool_)
    found = Segment(1, 0, "mug", 0.9, 0.9, 0.2, 0.8, box, mask, points)
    zeros = np.zeros(2, np.float32)
    return FrameResult(
        parse_query("mug; 杯子"),
        size_hw,
        np.linspace(0, 0.5, 32, dtype=np.float32).reshape(2, 4, 4),
        zeros,
        zeros,
        zeros,
        (found,),
        (AbsentLabel("杯子", "its presence is low"),),
    )


@pytest.mark.parametrize("size_hw", [(8, 8), (24, 400), (240, 320), (720, 1280)])
def test_overlay_has_the_size_of_the_image_and_does_not_change_it(
    size_hw: tuple[int, int],
) -> None:
    image = np.full((*size_hw, 3), 120, np.uint8)
    picture = render.overlay(image, result(size_hw))
    assert picture.shape == image.shape
    assert picture.dtype == np.uint8
    assert (image == 120).all()
    assert (picture != 120).any()


def test_mask_is_drawn_in_the_colour_of_its_label() -> None:
    image = np.zeros((240, 320, 3), np.uint8)
    found = result((240, 320)).segments
    picture = render.draw_segments(image, found)
    np.testing.assert_allclose(picture[120, 160], np.array(render.colour_of(0)) / 2, atol=1)
    assert not picture[20, 20].any()


def segment_at(label: int, x: int, y: int) -> Segment:
    points = PointPrompts(np.array([[x + 2, y - 4]], np.int32), np.ones(1, np.bool_))
    mask = np.ones((20, 20), np.bool_)
    return Segment(label + 1, label, "mug", 0.9, 0.9, 0.2, 0.8, Box(x, y, 20, 20), mask, points)


def pixels_in_label_colour(picture: np.ndarray, label: int) -> int:
    """Count the pixels in the label's colour: those of its name's background and its outline."""
    return int((picture == np.array(render.colour_of(label))).all(axis=-1).sum())


def test_names_of_close_segments_do_not_overlap() -> None:
    image = np.zeros((240, 320, 3), np.uint8)
    first, second = segment_at(0, 100, 100), segment_at(1, 110, 104)
    alone = pixels_in_label_colour(render.draw_segments(image, [first]), 0)
    assert pixels_in_label_colour(render.draw_segments(image, [first, second]), 0) > 0.8 * alone
    assert pixels_in_label_colour(render.draw_segments(image, [second, first]), 0) > 0.8 * alone


def test_points_do_not_hide_names() -> None:
    image, found = np.zeros((240, 320, 3), np.uint8), segment_at(0, 100, 100)
    without = render.draw_segments(image, [found])[85:100, 100:150]  # the name
    assert np.array_equal(
        render.draw_segments(image, [found], with_points=True)[85:100, 102:150], without[:, 2:]
    )


def test_positive_points_are_green_and_negative_ones_red() -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    points = PointPrompts(np.array([[20, 30], [70, 80]], np.int32), np.array([True, False]))
    render.draw_points(picture, points)
    assert picture[30, 20].argmax() == 1
    assert picture[80, 70].argmax() == 0


def test_map_is_red_at_its_maximum_and_blue_if_low_on_a_shared_scale() -> None:
    image = np.full((80, 80, 3), 128, np.uint8)
    similarity = np.zeros((4, 4), np.float32)
    similarity[0, 3] = 0.2
    picture = render.map_picture(image, similarity)
    assert picture[5, 75, 0] > picture[5, 75, 2]  # red above blue
    assert picture[75, 5, 2] > picture[75, 5, 0]
    shared = render.map_picture(image, similarity, (0.0, 2.0))
    assert shared[5, 75, 2] > shared[5, 75, 0]


def test_constant_map_draws_without_warning() -> None:
    image = np.full((20, 20, 3), 128, np.uint8)
    with np.errstate(all="raise"):
        render.map_picture(image, np.full((2, 2), 0.3, np.float32))


def test_panel_grid_holds_panels_of_different_sizes() -> None:
    panels = [(f"panel {i}", np.zeros((40 + 10 * i, 60, 3), np.uint8)) for i in range(5)]
    picture = render.panel_grid(panels, columns=3, width=90)
    assert picture.shape[1] == 3 * (90 + 12)
    assert picture.shape[0] == 2 * (round(80 * 90 / 60) + 34)


def test_panel_grid_limits_the_size_of_long_panels() -> None:
    panels = [("wide", np.zeros((20, 16384, 3), np.uint8))]
    panels += [("tall", np.zeros((16384, 20, 3), np.uint8)), ("", np.zeros((9, 9, 3), np.uint8))]
    picture = render.panel_grid(panels, columns=3, width=80)
    assert picture.shape == (4 * 80 + 34, 3 * 92, 3)
    assert (picture.reshape(-1, 3) == 0).all(axis=1).any()
