"""Depth images, camera models, and depth of a camera that is not registered to colour."""

from __future__ import annotations

import numpy as np
import pytest

from clip_surgery_ros.core.errors import SpaceError
from clip_surgery_ros.space.depth import DepthImage, Intrinsics, metres_of, registered

CAMERA = Intrinsics(500.0, 510.0, 319.5, 239.5, 640, 480)


def test_units_follow_the_encoding() -> None:
    assert metres_of(np.array([[1500]], np.uint16), "16UC1")[0, 0] == pytest.approx(1.5)
    assert metres_of(np.array([[1.5]], np.float32), "32FC1")[0, 0] == pytest.approx(1.5)


def test_parameter_replaces_the_unit_of_the_encoding() -> None:
    raw = np.array([[4000]], np.uint16)
    assert metres_of(raw, "16UC1", 0.00025)[0, 0] == pytest.approx(1.0)


def test_zero_negative_nan_infinity_and_millions_are_not_measured() -> None:
    raw = np.array([[0, -1, np.nan, np.inf, -np.inf, 3.4e38, 2]], np.float32)
    assert metres_of(raw, "32FC1").tolist() == [[0, 0, 0, 0, 0, 0, 2]]


def test_other_encodings_are_refused_with_what_is_expected() -> None:
    with pytest.raises(SpaceError, match="'bgr8': expected one of 16UC1"):
        metres_of(np.zeros((2, 2), np.uint8), "bgr8")


def test_negative_unit_is_refused() -> None:
    with pytest.raises(SpaceError, match="must be above 0"):
        metres_of(np.zeros((2, 2), np.uint16), "16UC1", -1.0)


def test_focal_length_of_zero_is_refused() -> None:
    with pytest.raises(SpaceError, match="is the camera calibrated"):
        Intrinsics.from_matrix(np.zeros(9), 640, 480)


@pytest.mark.parametrize("number", [np.nan, np.inf, -500.0, 1e-300, 1e18])
@pytest.mark.parametrize("place", [0, 4])
def test_impossible_focal_lengths_are_refused(place: int, number: float) -> None:
    k = [500.0, 0, 319.5, 0, 510, 239.5, 0, 0, 1]
    k[place] = number
    with pytest.raises(SpaceError, match="is the camera calibrated"):
        Intrinsics.from_matrix(k, 640, 480)


def test_depth_from_an_impossible_place_is_outside_the_picture() -> None:
    far = np.eye(4)
    far[:3, 3] = 1e9, -1e9, 0
    seen = registered(DepthImage(np.ones((480, 640), np.float32), CAMERA), CAMERA, far)
    assert not seen.metres.any()


def test_k_and_p_give_the_same_numbers() -> None:
    k = [500, 0, 319.5, 0, 510, 239.5, 0, 0, 1]
    p = [500, 0, 319.5, 0, 0, 510, 239.5, 0, 0, 0, 1, 0]
    assert Intrinsics.from_matrix(k, 640, 480) == CAMERA
    assert Intrinsics.from_projection(p, 640, 480) == CAMERA


def test_p_of_a_second_stereo_camera_is_refused() -> None:
    p = [500, 0, 319.5, -25, 0, 510, 239.5, 0, 0, 0, 1, 0]
    with pytest.raises(SpaceError, match="first camera"):
        Intrinsics.from_projection(p, 640, 480)


def test_matrix_of_another_size_is_refused() -> None:
    with pytest.raises(SpaceError, match="12 numbers instead of 3 x 3"):
        Intrinsics.from_matrix(np.zeros(12), 640, 480)


@pytest.mark.parametrize(
    ("changed", "pixel"),
    [
        (CAMERA.scaled(320, 240), (0.25, 0.25)),  # the point seen at (1, 1): (1 + 0.5) / 2 - 0.5
        (CAMERA.binned(2, 2), (0.25, 0.25)),
        (CAMERA.cropped(100, 50, 200, 100), (-99.0, -49.0)),
        (CAMERA.cropped(100, 50, 200, 100).binned(2, 1), (-49.75, -49.0)),
    ],
)
def test_changed_pictures_show_a_point_at_the_changed_pixel(
    changed: Intrinsics, pixel: tuple[float, float]
) -> None:
    point = CAMERA.points(np.array([1.0]), np.array([1.0]), np.array([2.0]))
    assert changed.pixels(point)[0] == pytest.approx(pixel, abs=1e-4)


def test_sizes_of_depth_and_camera_model_must_agree() -> None:
    with pytest.raises(SpaceError, match="320 x 240 pixels with a camera model of 640 x 480"):
        DepthImage(np.zeros((240, 320), np.float32), CAMERA)


def test_organised_points_are_those_of_single_pixels_and_nan_without_depth() -> None:
    depth = np.zeros((480, 640), np.float32)
    depth[100, 200], depth[300, 7] = 0.7, 1.9
    image = DepthImage(depth, CAMERA)
    cloud = image.organised()
    assert np.isfinite(cloud[..., 2]).sum() == 2
    single = image.points_at(np.array([200, 7]), np.array([100, 300]))
    np.testing.assert_allclose(cloud[[100, 300], [200, 7]], single, atol=1e-6)
    expected = [(200 - 319.5) / 500 * 0.7, (100 - 239.5) / 510 * 0.7, 0.7]
    np.testing.assert_allclose(single[0], expected, atol=1e-6)


def scene_depth(camera: Intrinsics, to_camera: np.ndarray) -> np.ndarray:
    """Return depth of a wall 2 m before the first camera and a plate at 1 m, by ray casting.

    :param to_camera: (4, 4), takes points of the first camera's frame to this camera's.
    """
    y, x = np.mgrid[0 : camera.height, 0 : camera.width].reshape(2, -1).astype(float)
    rays = np.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, np.ones_like(x)], 1)
    back = np.linalg.inv(to_camera)
    origin, rays = back[:3, 3], rays @ back[:3, :3].T
    depth = np.full(len(rays), np.inf)
    for distance, half in ((2.0, np.inf), (1.0, 0.2)):
        t = (distance - origin[2]) / rays[:, 2]
        hit = np.abs(origin[:2] + rays[:, :2] * t[:, None]).max(1) <= half
        depth = np.where(hit & (t < depth), t, depth)
    return depth.reshape(camera.height, camera.width).astype(np.float32)


@pytest.mark.parametrize("width", [320, 640, 960])
def test_depth_is_seen_from_the_colour_camera_as_if_measured_there(width: int) -> None:
    narrow = CAMERA.scaled(640, 480)
    colour = Intrinsics(550.0, 550.0, 319.5, 239.5, 640, 480).scaled(width, width * 3 // 4)
    shifted = np.eye(4)
    angle = 0.02
    shifted[:3, :3] = [
        [np.cos(angle), 0, np.sin(angle)],
        [0, 1, 0],
        [-np.sin(angle), 0, np.cos(angle)],
    ]
    shifted[:3, 3] = [0.03, 0.002, -0.001]
    depth = DepthImage(scene_depth(narrow, np.eye(4)), narrow)
    found = registered(depth, colour, shifted).metres
    expected = scene_depth(colour, shifted)
    seen = found > 0
    inside = np.zeros_like(seen)
    inside[20:-20, 40:-40] = True
    # All pixels that both cameras see have depth; the plate's shadow on the wall has none.
    near = inside & (expected < 1.5)
    assert seen[near].mean() > 0.995
    wrong = inside & seen & (np.abs(found - expected) > 0.02)
    assert wrong.sum() < 0.004 * inside.sum()  # half a pixel along the plate's outline
    shadow = inside & ~seen
    assert 0.005 < shadow.mean() < 0.1


def test_nearest_surface_wins_where_two_meet() -> None:
    camera = Intrinsics(100.0, 100.0, 2.0, 2.0, 5, 5)
    metres = np.full((5, 5), 2.0, np.float32)
    metres[2, 3] = 1.0  # 0.01 m to the right; the shift below puts it before the middle
    shift = np.eye(4)
    shift[0, 3] = -0.01
    assert registered(DepthImage(metres, camera), camera, shift).metres[2, 2] == 1.0


def test_points_behind_the_colour_camera_are_left_out() -> None:
    camera = Intrinsics(100.0, 100.0, 2.0, 2.0, 5, 5)
    behind = np.eye(4)
    behind[2, 3] = -3
    image = DepthImage(np.full((5, 5), 2.0, np.float32), camera)
    assert registered(image, camera, behind).metres.max() == 0
