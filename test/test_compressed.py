"""Compressed images: JPEG and PNG are read, everything else is refused in a sentence."""

import struct

import cv2
import numpy as np
import PIL.Image
import pytest
from clip_surgery_ros.msg import SegmentArray
from ros import hostile
from ros.rig import wait_readers
from sensor_msgs.msg import CompressedImage

from clip_surgery_ros.adapters.images import compressed_to_rgb
from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.core.image_files import MAX_PIXELS

RGB = np.zeros((24, 32, 3), np.uint8)
RGB[:, :16, 0], RGB[:, 16:, 2] = 200, 200
"""Red on the left, blue on the right."""


def file_of(suffix, pixels=RGB):
    return cv2.imencode(suffix, np.flip(pixels, axis=2))[1].tobytes()


@pytest.mark.parametrize(
    ("format_name", "suffix", "tolerance"),
    [
        ("jpeg", ".jpg", 3),
        ("rgb8; jpeg compressed bgr8", ".jpg", 3),
        ("png", ".png", 0),
        ("bgr8; png compressed bgr8", ".png", 0),
        ("", ".png", 0),
    ],
)
def test_jpeg_and_png_keep_their_colours(format_name, suffix, tolerance):
    decoded = compressed_to_rgb(CompressedImage(format=format_name, data=file_of(suffix)))
    inner = np.s_[:, [0, 8, 23, 31]]  # away from the edge, which JPEG blurs
    np.testing.assert_allclose(decoded[inner].astype(int), RGB[inner], atol=tolerance)


def test_a_grey_and_a_sixteen_bit_png_are_read():
    grey = cv2.imencode(".png", np.full((8, 8), 90, np.uint8))[1].tobytes()
    deep = cv2.imencode(".png", np.full((8, 8), 90 * 257, np.uint16))[1].tobytes()
    for data in (grey, deep):
        assert (compressed_to_rgb(CompressedImage(format="png", data=data)) == 90).all()


def test_rows_stay_as_they_were_encoded_whatever_exif_says(tmp_path):
    path = tmp_path / "turned.jpg"
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # orientation: turned by 90 degrees
    PIL.Image.fromarray(RGB).save(path, exif=exif, quality=95)
    decoded = compressed_to_rgb(CompressedImage(format="jpeg", data=path.read_bytes()))
    assert decoded.shape == RGB.shape


def depth_payload():
    """What compressed_depth_image_transport sends: three numbers, then a PNG."""
    return struct.pack("<iff", 0, 100.0, 1.0) + file_of(".png")


@pytest.mark.parametrize(
    ("format_name", "data", "said"),
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
    ],
)
def test_what_cannot_or_shall_not_be_decoded_is_refused_in_a_sentence(format_name, data, said):
    with pytest.raises(ImageError, match=said):
        compressed_to_rgb(CompressedImage(format=format_name, data=data))


def test_the_limit_is_above_what_cameras_send():
    assert MAX_PIXELS > 8192 * 6144


def test_a_node_on_compressed_images_survives_broken_ones(rigs):
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
