"""Compressed images: JPEG, PNG and TIFF are read, other data raise an error."""

import struct

import cv2
import numpy as np
import PIL.Image
import pytest
from clip_surgery_ros.msg import SegmentArray
from ros import hostile
from ros.rig import wait_readers
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.ros.images import compressed_to_rgb, image_message, image_to_rgb

RGB = np.zeros((24, 32, 3), np.uint8)
RGB[:, :16], RGB[:, 16:] = (200, 0, 40), (0, 60, 200)
"""Red on the left, blue on the right."""
BGR = np.ascontiguousarray(RGB[..., ::-1])
ALPHA = np.full((24, 32, 1), 99, np.uint8)
RGBA, BGRA = np.dstack([RGB, ALPHA]), np.dstack([BGR, ALPHA])
GREY = np.full((24, 32), 90, np.uint8)


def wide(pixels):
    """Bytes v as 16-bit values 257 v: white stays white."""
    return pixels.astype(np.uint16) * 257


def mosaic(pattern="rggb"):
    """Return the picture behind a Bayer filter; the pattern is one cell, row by row."""
    values = np.empty((24, 32), np.uint8)
    for index, letter in enumerate(pattern):
        row, column = divmod(index, 2)
        values[row::2, column::2] = RGB[row::2, column::2, "rgb".index(letter)]
    return values


def file_of(suffix, pixels=BGR):
    """Return an encoded array in OpenCV's channel order, as image_transport encodes it."""
    return cv2.imencode(suffix, pixels)[1].tobytes()


def read(format_name, suffix, pixels):
    return compressed_to_rgb(CompressedImage(format=format_name, data=file_of(suffix, pixels)))


INNER = np.s_[2:-2, [4, 8, 23, 28]]
"""Away from edges, which JPEG and demosaicing blur."""

# From image_transport's publisher: it converts the image to the encoding that the format names
# last, if any, and passes it to OpenCV's encoder, which assumes grey, BGR or BGRA.
BY_IMAGE_TRANSPORT = [
    ("rgb8; jpeg compressed bgr8", ".jpg", BGR),
    ("bgr8; jpeg compressed bgr8", ".jpg", BGR),
    ("rgba8; jpeg compressed bgr8", ".jpg", BGR),
    ("rgb16; jpeg compressed bgr8", ".jpg", BGR),
    ("yuv422; jpeg compressed bgr8", ".jpg", BGR),
    ("nv21; jpeg compressed bgr8", ".jpg", BGR),
    ("rgb8; png compressed bgr8", ".png", BGR),
    ("bgra8; png compressed bgr8", ".png", BGR),
    ("rgba8; png compressed bgra8", ".png", BGRA),
    ("rgb16; png compressed bgr16", ".png", wide(BGR)),
    ("rgba16; png compressed bgra16", ".png", wide(BGRA)),
    ("8UC3; png compressed ", ".png", BGR),
    ("8UC4; png compressed ", ".png", BGRA),
    ("16UC3; png compressed ", ".png", wide(BGR)),
    ("rgb8; tiff compressed ", ".tiff", RGB),
    ("bgr8; tiff compressed ", ".tiff", BGR),
    ("rgba8; tiff compressed ", ".tiff", RGBA),
    ("bgra8; tiff compressed ", ".tiff", BGRA),
    ("rgb16; tiff compressed ", ".tiff", wide(RGB)),
    ("bgr16; tiff compressed ", ".tiff", wide(BGR)),
    ("8UC3; tiff compressed ", ".tiff", BGR),
    ("bayer_rggb8; png compressed ", ".png", mosaic()),
    ("bayer_rggb16; png compressed ", ".png", wide(mosaic())),
    ("bayer_rggb8; tiff compressed ", ".tiff", mosaic()),
    ("bayer_rggb16; tiff compressed ", ".tiff", wide(mosaic())),
    ("bayer_rggb8; jpeg compressed bayer_rggb8", ".jpg", mosaic()),  # jpeg_compress_bayer
    ("bayer_rggb8; jpeg compressed ", ".jpg", mosaic()),  # ROS 1
]
# From other publishers: old versions, drivers that forward the camera's JPEG, and users' code.
BY_OTHER_PUBLISHERS = [
    *((name, ".jpg", BGR) for name in ("", "jpeg", "jpg", "JPEG", ".jpg", "image/jpeg", "mjpeg")),
    *((name, ".png", BGR) for name in ("", "png", "image/png", "bgr8; png compressed", "%n")),
    ("rgb8; jpeg", ".jpg", BGR),
    ("rgb8; jpeg compressed", ".jpg", BGR),
    ("bgr8;jpeg compressed bgr8", ".jpg", BGR),
    ("BGR8; JPEG compressed BGR8", ".jpg", BGR),
    ("; jpeg compressed bgr8", ".jpg", BGR),
    ("rgba8; png compressed", ".png", BGRA),
    ("rgb8; jpeg compressed rgb8", ".jpg", RGB),  # not reordered, as the target encoding says
    ("bgr8; jpeg compressed rgb8", ".jpg", RGB),
    ("rgb16; png compressed rgb16", ".png", wide(RGB)),
    ("rgba8; png compressed rgba8", ".png", RGBA),
    ("bayer_rggb8; jpeg compressed bgr8", ".jpg", BGR),  # demosaiced by the publisher
    ("bayer_rggb8; png compressed rgb8", ".png", RGB),
    ("bayer_rggb8; jpeg compressed ", ".jpg", BGR),
]


@pytest.mark.parametrize(
    ("format_name", "suffix", "pixels"), [*BY_IMAGE_TRANSPORT, *BY_OTHER_PUBLISHERS]
)
def test_colours_are_decoded_in_the_order_of_the_format(format_name, suffix, pixels):
    tolerance = 6 if suffix == ".jpg" else 0
    seen = read(format_name, suffix, pixels)
    assert seen.shape == RGB.shape and seen.dtype == np.uint8
    np.testing.assert_allclose(seen[INNER].astype(int), RGB[INNER], atol=tolerance)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_every_bayer_pattern_is_demosaiced(pattern, bits):
    pixels = mosaic(pattern) if bits == 8 else wide(mosaic(pattern))
    seen = read(f"bayer_{pattern}{bits}; png compressed ", ".png", pixels)
    np.testing.assert_array_equal(seen[INNER], RGB[INNER])
    raw = image_to_rgb(image_message(pixels, f"bayer_{pattern}{bits}", Header()))
    np.testing.assert_array_equal(seen, raw)


@pytest.mark.parametrize(
    ("format_name", "suffix", "pixels"),
    [
        ("mono8; jpeg compressed mono8", ".jpg", GREY),
        ("mono16; jpeg compressed mono8", ".jpg", GREY),
        ("mono8; jpeg compressed ", ".jpg", GREY),
        ("mono8; png compressed ", ".png", GREY),
        ("mono16; png compressed ", ".png", wide(GREY)),
        ("16UC1; png compressed ", ".png", wide(GREY)),
        ("8UC1; tiff compressed ", ".tiff", GREY),
        ("mono16; tiff compressed ", ".tiff", wide(GREY)),
        ("png", ".png", wide(GREY)),
        # The publisher converted it to grey before compression.
        ("bayer_rggb8; jpeg compressed mono8", ".jpg", GREY),
        ("rgb8; jpeg compressed bgr8", ".jpg", GREY),
    ],
)
def test_grey_images_decode_to_grey(format_name, suffix, pixels):
    assert np.abs(read(format_name, suffix, pixels).astype(int) - 90).max() <= 1


def test_16_bit_values_are_scaled_as_in_raw_images():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    raw = image_to_rgb(image_message(values, "mono16", Header()))
    np.testing.assert_array_equal(read("mono16; png compressed ", ".png", values), raw)


def test_exif_orientation_of_a_message_is_ignored(tmp_path):
    path = tmp_path / "rotated.jpg"
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # orientation: rotated by 90 degrees
    PIL.Image.fromarray(RGB).save(path, exif=exif, quality=95)
    decoded = compressed_to_rgb(CompressedImage(format="jpeg", data=path.read_bytes()))
    assert decoded.shape == RGB.shape


def depth_payload():
    """Return the data of compressed_depth_image_transport: three numbers, then a PNG."""
    return struct.pack("<iff", 0, 100.0, 1.0) + file_of(".png")


@pytest.mark.parametrize(
    ("format_name", "data", "error"),
    [
        ("16UC1; compressedDepth png", depth_payload(), "depth image"),
        ("32FC1; compressedDepth", depth_payload(), "remap image_raw to the camera's colour"),
        ("jpeg", b"", "0 bytes cannot be decoded; expected a whole JPEG or PNG"),
        ("jpeg", b"not a picture", "expected a whole JPEG or PNG"),
        ("jpeg", file_of(".jpg")[:40], "expected a whole JPEG or PNG"),
        ("png", file_of(".png")[:60], "damaged"),
        ("bmp", file_of(".bmp"), "expected a whole JPEG or PNG"),
        ("png", depth_payload(), "expected a whole JPEG or PNG"),
        ("png", hostile.png_of((9000, 9000), bytes(100)), "at most 64 million"),
        ("png", hostile.png_of((1 << 20, 1 << 20), bytes(100)), "refused"),
        ("jpeg", hostile.jpeg_of((30_000, 30_000), file_of(".jpg")), "refused"),
        ("jpeg", file_of(".jpg")[:-30], "a part of the picture is missing"),
        ("jpeg", file_of(".jpg")[:-30] + b"\xff\xd9", "a part of the picture is missing"),
        ("avif", b"\0\0\0\x20ftypavif" + bytes(90), "expected a whole JPEG or PNG"),
        ("16UC1; jpeg compressed mono8", b"", "0 bytes cannot be decoded"),  # not converted
        ("32FC1; tiff compressed ", file_of(".tiff", np.ones((4, 4), np.float32)), "depth image"),
        ("bayer_rggb8; png compressed ", file_of(".png", GREY[:23]), "cells of 2 x 2"),
        ("bayer_rggb8; png compressed ", file_of(".png", GREY[:, :31]), "cells of 2 x 2"),
        ("bayer_rgbw8; png compressed ", file_of(".png", GREY), "'bayer_rgbw8' is not known"),
        ("bgr8; png compressed bayer_rggb8", file_of(".png"), "mosaic of one channel"),
    ],
)
def test_invalid_or_unsupported_data_is_an_image_error(format_name, data, error):
    with pytest.raises(ImageError, match=error):
        compressed_to_rgb(CompressedImage(format=format_name, data=data))


def test_node_continues_after_broken_compressed_images(rigs):
    rig = rigs(image_transport="compressed")
    rig.activate()
    publisher = rig.outside.create_publisher(CompressedImage, "image_raw/compressed", 10)
    segments = rig.inbox(SegmentArray, "segments")
    wait_readers(rig, "segments")
    rig.ask("mug")
    for number, suffix in enumerate((".jpg", ".png")):
        broken = CompressedImage(format="16UC1; compressedDepth png", data=depth_payload())
        rig.show("broken", broken, publisher)
        rig.health(lambda statuses: "depth image" in statuses[1].message)
        rig.show(suffix, CompressedImage(data=file_of(suffix)), publisher)
        assert segments.wait(after=number).header.frame_id == suffix
