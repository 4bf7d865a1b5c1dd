"""Camera messages: colour, depth, camera model and poses follow the REPs."""

from __future__ import annotations

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.ros.camera_messages import (
    COLOUR_ENCODINGS,
    camera_info,
    colour_message,
    depth_message,
    jpeg_message,
    quaternion,
    transform,
)
from clip_surgery_ros.ros.images import compressed_to_rgb, image_to_rgb

HEADER = Header(frame_id="camera", stamp=Time(sec=3, nanosec=5))
SIZE_HW = (12, 16)
RED, GREEN, BLUE, BROWN = (255, 0, 0), (0, 255, 0), (0, 0, 255), (120, 80, 40)
# ITU-R BT.601, studio range: Y, U, V.
BT601 = {RED: (82, 90, 240), GREEN: (145, 54, 34), BLUE: (41, 240, 110)}


def plain(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((*SIZE_HW, 3), colour, np.uint8)


def gradient() -> np.ndarray:
    """Return a picture whose pixels are all different."""
    y, x = np.mgrid[0 : SIZE_HW[0], 0 : SIZE_HW[1]]
    return np.stack([x * 15, y * 20, 255 - x * 10], 2).astype(np.uint8)


@pytest.mark.parametrize("colour", [RED, GREEN, BLUE, BROWN])
@pytest.mark.parametrize("encoding", COLOUR_ENCODINGS)
def test_every_encoding_reads_back_the_sent_colour(
    encoding: str, colour: tuple[int, int, int]
) -> None:
    message = colour_message(plain(colour), encoding, HEADER)
    assert (message.height, message.width, message.encoding) == (*SIZE_HW, encoding)
    assert message.header == HEADER
    if encoding == "mono8":  # BT.601's luma
        colour = (round(np.dot(colour, (0.299, 0.587, 0.114))),) * 3
    # Demosaicing is free at the border.
    read = image_to_rgb(message)[2:-2, 2:-2].astype(int)
    assert np.abs(read - colour).max() <= 3


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8"])
def test_lossless_encodings_read_back_the_same_pixels(encoding: str) -> None:
    np.testing.assert_array_equal(
        image_to_rgb(colour_message(gradient(), encoding, HEADER)), gradient()
    )


@pytest.mark.parametrize(("encoding", "place"), [("yuv422", 1), ("yuv422_yuy2", 0)])
@pytest.mark.parametrize("colour", BT601)
def test_packed_yuv_has_bt601_values_in_the_order_of_its_encoding(
    encoding: str, place: int, colour: tuple[int, int, int]
) -> None:
    y, u, v = BT601[colour]
    data = np.frombuffer(colour_message(plain(colour), encoding, HEADER).data, np.uint8)
    expected = [u, y, v, y] if place else [y, u, y, v]
    assert np.abs(data[:4].astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("encoding", "size"), [("yuv422", (4, 3)), ("bayer_rggb8", (3, 4))])
def test_odd_side_is_rejected_for_encodings_with_cells(
    encoding: str, size: tuple[int, int]
) -> None:
    with pytest.raises(ImageError, match="comes in cells of 2 x"):
        colour_message(np.zeros((*size, 3), np.uint8), encoding, HEADER)


@pytest.mark.parametrize("encoding", ["rgb8", "mono8", "yuv422", "bayer_rggb8"])
def test_jpeg_message_reads_back_the_picture(encoding: str) -> None:
    message = jpeg_message(plain(BROWN), encoding, HEADER)
    expected = (87, 87, 87) if encoding == "mono8" else BROWN
    assert message.header == HEADER
    assert np.abs(compressed_to_rgb(message).astype(int) - expected).max() <= 3


def test_depth_in_millimetres_is_rounded_and_missing_depth_is_0() -> None:
    depth = np.array([[0.0, 0.1234, 0.9996, 65.535, 65.536, 1e9]], np.float32)
    message = depth_message(depth, "16UC1", HEADER)
    assert np.frombuffer(message.data, np.uint16).tolist() == [0, 123, 1000, 65535, 0, 0]
    assert (message.encoding, message.step) == ("16UC1", 12)


def test_depth_in_metres_is_exact_and_missing_depth_is_nan() -> None:
    depth = np.array([[0.0, 0.1234, 100.0]], np.float32)
    values = np.frombuffer(depth_message(depth, "32FC1", HEADER).data, np.float32)
    assert np.isnan(values[0]) and values[1:].tolist() == depth[0, 1:].tolist()


def test_camera_info_without_distortion_has_k_in_p_and_identity_r() -> None:
    matrix = np.array([[500.0, 0, 319.5], [0, 510.0, 239.5], [0, 0, 1]])
    model = camera_info(matrix, 640, 480, HEADER)
    assert (model.width, model.height, model.distortion_model) == (640, 480, "plumb_bob")
    assert model.k.tolist() == [500, 0, 319.5, 0, 510, 239.5, 0, 0, 1]
    assert model.p.tolist() == [500, 0, 319.5, 0, 0, 510, 239.5, 0, 0, 0, 1, 0]
    assert model.r.tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert list(model.d) == [0] * 5
    assert model.header == HEADER


def rotated(vector: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """Rotate a vector by a quaternion (x, y, z, w), with Rodrigues' formula."""
    axis, w = quaternion[:3], quaternion[3]
    return vector + 2 * np.cross(axis, np.cross(axis, vector) + w * vector)


@pytest.mark.parametrize("seed", range(20))
def test_quaternion_rotates_as_its_matrix(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    matrix *= np.linalg.det(matrix)
    found = quaternion(matrix)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-12) and found[3] >= 0
    vector = rng.standard_normal(3)
    np.testing.assert_allclose(rotated(vector, found), matrix @ vector, atol=1e-12)


@pytest.mark.parametrize("axis", range(3))
def test_rotation_by_180_degrees_has_a_quaternion(axis: int) -> None:
    matrix = -np.eye(3)
    matrix[axis, axis] = 1
    np.testing.assert_allclose(np.abs(quaternion(matrix)), np.eye(4)[axis], atol=1e-12)


def test_transform_has_both_frames_and_the_pose_of_the_child() -> None:
    pose = np.eye(4)
    pose[:3] = [[0, -1, 0, 1.0], [1, 0, 0, 2.0], [0, 0, 1, 3.0]]  # a quarter turn about z
    message = transform(pose, "world", "camera", HEADER.stamp)
    assert (message.header.frame_id, message.child_frame_id) == ("world", "camera")
    assert message.header.stamp == HEADER.stamp
    moved = message.transform.translation
    assert (moved.x, moved.y, moved.z) == (1, 2, 3)
    assert message.transform.rotation.z == pytest.approx(np.sqrt(0.5))
    assert message.transform.rotation.w == pytest.approx(np.sqrt(0.5))
