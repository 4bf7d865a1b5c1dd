"""Depth messages: every encoding and transport, and damaged ones."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.ros.depth_images import metres_of_message
from clip_surgery_ros.ros.images import image_message

MILLIMETRES = np.array([[0, 1500, 1501], [65535, 7, 0]], np.uint16)
METRES = np.array([[0, 1.5, 1.501], [65.535, 0.007, 0]], np.float32)


def rvl(pixels: NDArray[np.uint16]) -> bytes:
    """Compress as the paper's listing does, number by number."""
    words, word, written = [], 0, 0

    def put(value: int) -> None:
        nonlocal word, written
        while True:
            nibble, value = value & 7, value >> 3
            word = word << 4 | (nibble | 8 if value else nibble)
            written += 1
            if written == 8:
                words.append(word)
                word, written = 0, 0
            if not value:
                return

    flat, at, previous = pixels.ravel().tolist(), 0, 0
    while at < len(flat):
        start = at
        while at < len(flat) and not flat[at]:
            at += 1
        put(at - start)
        start = at
        while at < len(flat) and flat[at]:
            at += 1
        put(at - start)
        for value in flat[start:at]:
            delta = value - previous
            put(2 * delta if delta >= 0 else -2 * delta - 1)
            previous = value
    if written:
        words.append(word << 4 * (8 - written))
    height, width = pixels.shape
    return struct.pack(f"<ii{len(words)}I", width, height, *words)


def compressed(body: bytes, form: str, a: float = 0.0, b: float = 0.0) -> CompressedImage:
    return CompressedImage(format=form, data=struct.pack("<iff", 0, a, b) + body)


def png(pixels: NDArray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("encoding", ["16UC1", "mono16"])
def test_millimetres_in_either_byte_order_become_metres(encoding: str, order: str) -> None:
    message = image_message(MILLIMETRES.astype(f"{order}u2"), encoding, Header())
    np.testing.assert_allclose(metres_of_message(message), METRES)


def test_metres_stay_and_what_is_no_depth_becomes_zero() -> None:
    values = np.array([[np.nan, 1.5, np.inf], [-1, 0, 2]], np.float32)
    message = image_message(values, "32FC1", Header())
    assert metres_of_message(message).tolist() == [[0, 1.5, 0], [0, 0, 2]]


def test_padded_rows_are_read() -> None:
    message = image_message(np.pad(MILLIMETRES, ((0, 0), (0, 2))), "16UC1", Header())
    message.width = 3
    np.testing.assert_allclose(metres_of_message(message), METRES)


def test_unit_of_the_parameter_replaces_that_of_the_encoding() -> None:
    message = image_message(MILLIMETRES, "16UC1", Header())
    np.testing.assert_allclose(metres_of_message(message, 0.00025), METRES / 4)


@pytest.mark.parametrize("form", ["16UC1; compressedDepth", "16UC1; compressedDepth png"])
def test_png_of_compressed_depth_is_read(form: str) -> None:
    np.testing.assert_allclose(metres_of_message(compressed(png(MILLIMETRES), form)), METRES)


def test_rvl_of_compressed_depth_is_read() -> None:
    rng = np.random.default_rng(0)
    large = rng.integers(0, 65536, (97, 61)).astype(np.uint16) * (rng.random((97, 61)) < 0.6)
    for pixels in (MILLIMETRES, large.astype(np.uint16), np.zeros((4, 5), np.uint16)):
        message = compressed(rvl(pixels), "16UC1; compressedDepth rvl")
        np.testing.assert_allclose(metres_of_message(message), pixels * np.float32(0.001))


def test_rvl_of_the_first_pixels_by_hand() -> None:
    """One zero, then two pixels: 5, and 3 less, so the numbers 1, 2, 10 = 2 | 1 << 3, and 5."""
    body = struct.pack("<iiI", 3, 1, 0x12A15000)
    message = compressed(body, "16UC1; compressedDepth rvl")
    np.testing.assert_allclose(metres_of_message(message), [[0, 0.005, 0.002]])


@pytest.mark.parametrize("kind", ["png", "rvl"])
def test_inverse_depth_of_32fc1_is_read(kind: str) -> None:
    """image_transport's quantisation of 100 steps at 1 m: A = 100 * 101, B = 1 - A / 10 m."""
    a, b = 10100.0, 1 - 10100.0 / 10
    depth = np.array([[0.5, 1.0, 2.0], [4.0, 8.0, np.nan]])
    stored = np.where(np.isfinite(depth), a / depth + b, 0).astype(np.uint16)
    body = png(stored) if kind == "png" else rvl(stored)
    read = metres_of_message(compressed(body, f"32FC1; compressedDepth {kind}", a, b))
    np.testing.assert_allclose(read, np.nan_to_num(depth), rtol=0.01)
    assert read[1, 2] == 0


def broken(**fields: object) -> Image:
    message = image_message(MILLIMETRES, "16UC1", Header())
    for name, value in fields.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (broken(encoding="rgb8"), "'rgb8': expected one of 16UC1, mono16, 32FC1; name the topic"),
        (broken(height=3), "cut short"),
        (broken(step=2), "cut short"),
        (broken(width=0), "expected sides of 1"),
        (broken(encoding="32FC1"), "cut short"),
        (CompressedImage(format="png", data=png(MILLIMETRES)), "'compressed' spoils depth"),
        (CompressedImage(format="16UC1; compressedDepth", data=b"123"), "cut short"),
        (compressed(b"no picture", "16UC1; compressedDepth"), "compressed depth image"),
        (compressed(png(MILLIMETRES.astype(np.uint8)), "16UC1; compressedDepth"), "not 16 bits"),
        (compressed(png(MILLIMETRES), "32FC1; compressedDepth", 0.0), "quantisation by 0"),
        (compressed(png(MILLIMETRES), "32FC1; compressedDepth", np.nan), "quantisation by nan"),
        (compressed(rvl(MILLIMETRES)[:-4], "16UC1; compressedDepth rvl"), "RVL"),
        (compressed(struct.pack("<ii", 9, 9), "16UC1; compressedDepth rvl"), "cut short"),
        (compressed(struct.pack("<ii", -1, 9), "16UC1; compressedDepth rvl"), "claims -1 x 9"),
        (compressed(b"\xff" * 40, "16UC1; compressedDepth rvl"), "claims -1 x -1"),
    ],
)
def test_damaged_messages_are_refused_in_words(message: object, words: str) -> None:
    with pytest.raises(ClipSurgeryError, match=words):
        metres_of_message(message)


def test_random_bytes_never_raise_anything_else() -> None:
    rng = np.random.default_rng(1)
    for number in range(600):
        body = struct.pack("<ii", 8, 6) + rng.bytes(int(rng.integers(0, 60)))
        form = ("16UC1; compressedDepth rvl", "32FC1; compressedDepth rvl")[number % 2]
        try:
            metres = metres_of_message(compressed(body, form, 100.0, 1.0))
        except ClipSurgeryError:
            continue
        assert metres.shape == (6, 8) and np.isfinite(metres).all() and (metres >= 0).all()
