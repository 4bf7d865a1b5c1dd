"""Picture files: whole ones come out as they are stored, all others are refused in a sentence."""

import io
import os
import struct

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from ros import hostile

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.pictures.decode import (
    DISK_FORMATS,
    MAX_PIXELS,
    MAX_SIDE,
    MESSAGE_FORMATS,
    decode,
)
from clip_surgery_ros.pictures.files import read_picture_file

NOISE = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8), (0, 0), 1.5
)
END = b"\xff\xd9"
JPEGS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 2},
    "4:4:4": {"subsampling": "4:4:4"},
    "4:2:2": {"subsampling": "4:2:2"},
}


def by_pillow(pixels, kind, **options):
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def jpeg(kind="baseline"):
    return by_pillow(NOISE, "JPEG", quality=95, **JPEGS[kind])


def encoded(suffix, pixels=NOISE):
    return cv2.imencode(suffix, pixels)[1].tobytes()


def is_refused(data, said="damaged|cannot be decoded"):
    with pytest.raises(ImageError, match=said) as refusal:
        decode(data, "picture x", DISK_FORMATS)
    return "\n" not in str(refusal.value)


def scan_of(data):
    """Where the picture's data begin."""
    return data.rindex(b"\xff\xda") + 14


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_is_decoded_as_opencv_does(kind):
    data = jpeg(kind)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(decode(data, "x", MESSAGE_FORMATS).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp", ".ppm"])
def test_other_files_come_back_as_they_were_saved(suffix):
    np.testing.assert_array_equal(decode(encoded(suffix), "x", DISK_FORMATS), NOISE)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_bits_and_channels_are_kept(suffix, channels):
    pixels = np.random.default_rng(1).integers(0, 65536, (6, 8, channels), np.uint16).squeeze()
    np.testing.assert_array_equal(decode(encoded(suffix, pixels), "x", MESSAGE_FORMATS), pixels)


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_cut_anywhere_is_refused(kind):
    data = jpeg(kind)
    assert all(is_refused(data[:length]) for length in range(1, len(data)))


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_cut_anywhere_is_refused_though_its_end_is_marked(kind):
    data = jpeg(kind)
    # Of the last bytes only bits of padding may be missing.
    assert all(is_refused(data[:cut] + END) for cut in range(scan_of(data), len(data) - 6))


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_without_its_middle_is_refused(kind):
    """A third of it: that a few bytes are missing cannot always be told."""
    data = jpeg(kind)
    missing = (len(data) - scan_of(data)) // 3
    start = scan_of(data) + missing
    assert is_refused(data[:start] + data[start + missing :])


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("tail", [bytes(1000), b"junk\xff\xd8\xff\xda", b"\xff" * 7])
def test_what_a_camera_appends_behind_the_end_is_left_alone(kind, tail):
    whole = decode(jpeg(kind), "x", MESSAGE_FORMATS)
    np.testing.assert_array_equal(decode(jpeg(kind) + tail, "x", MESSAGE_FORMATS), whole)


def test_a_few_stray_bytes_before_a_marker_are_left_alone():
    """As cheap webcams leave them in each frame."""
    data = jpeg("restarts")
    at = data.index(b"\xff\xd2", scan_of(data))
    stray = data[:at] + bytes(9) + data[at:]
    whole = decode(data, "x", MESSAGE_FORMATS)
    assert np.abs(decode(stray, "x", MESSAGE_FORMATS).astype(int) - whole).max() <= 1
    assert is_refused(stray[: len(stray) // 2])


def test_a_frame_of_motion_jpeg_without_tables_is_read():
    """Of AVI1, whose decoders know the standard's Huffman tables."""
    whole = data = jpeg()
    at = 2
    while data[at + 1] != 0xDA:
        length = 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
        if data[at + 1] == 0xC4:
            data, length = data[:at] + data[at + length :], 0
        at += length
    assert len(data) < len(whole)
    np.testing.assert_array_equal(
        decode(data, "x", MESSAGE_FORMATS), decode(whole, "x", MESSAGE_FORMATS)
    )


def test_a_jpeg_in_printers_colours_is_read_and_refused_when_cut():
    file = io.BytesIO()
    PIL.Image.new("CMYK", (16, 8), (0, 255, 255, 0)).save(file, "JPEG", quality=95)
    red = decode(file.getvalue(), "x", DISK_FORMATS)
    assert red.shape == (8, 16, 3) and red[4, 8, 2] > red[4, 8, 0]
    assert is_refused(file.getvalue()[:-20])


def test_a_tiff_in_printers_colours_is_refused():
    file = io.BytesIO()
    PIL.Image.new("CMYK", (16, 8)).save(file, "TIFF")
    assert is_refused(file.getvalue(), "save it in RGB")


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp", ".ppm"])
def test_other_files_cut_anywhere_are_refused(suffix):
    data = encoded(suffix)
    lengths = {*range(1, len(data), 23), *range(len(data) - 30, len(data))}
    assert all(is_refused(data[:length]) for length in lengths)


def test_a_png_without_its_middle_is_refused_and_one_with_a_tail_is_not():
    data = encoded(".png")
    middle = len(data) // 2
    assert is_refused(data[:middle] + data[middle + 100 :])
    assert is_refused(data[:middle] + bytes(50) + data[middle + 50 :])
    np.testing.assert_array_equal(decode(data + b"tail", "x", MESSAGE_FORMATS), NOISE)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff"])
def test_nothing_is_printed_beside_the_sentence(suffix, capfd):
    data = encoded(suffix)
    assert is_refused(data[: len(data) // 2])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "data",
    [
        hostile.png_of((60_000, 60_000), bytes(100)),
        hostile.png_of((9000, 9000), bytes(100)),
        hostile.jpeg_of((30_000, 30_000), jpeg()),
        hostile.png_of((20_000, 20), bytes(100)),
    ],
    ids=["60,000 x 60,000", "9000 x 9000", "JPEG", "too wide"],
)
def test_claims_beyond_the_limits_are_refused_before_anything_is_decoded(data):
    assert is_refused(data, "at most 64 million|refused")


def test_the_limits_are_above_what_cameras_send():
    assert MAX_PIXELS > 8192 * 6144 and MAX_SIDE > 8192


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_what_is_no_brightness_is_refused(dtype):
    assert is_refused(encoded(".tiff", np.ones((4, 4), dtype)), "a depth image")


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_comes_as_stored_and_knows_its_turn(turn, tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = turn
    (tmp_path / "x.png").write_bytes(by_pillow(NOISE, "PNG", exif=exif))
    picture = read_picture_file(tmp_path / "x.png")
    np.testing.assert_array_equal(picture.image_rgb, NOISE)
    with PIL.Image.open(tmp_path / "x.png") as opened:
        upright = np.asarray(PIL.ImageOps.exif_transpose(opened))
    np.testing.assert_array_equal(picture.upright(), upright)


def test_damaged_exif_data_ask_for_no_turn(tmp_path):
    data = by_pillow(NOISE, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff junk")
    (tmp_path / "x.jpg").write_bytes(data)
    assert read_picture_file(tmp_path / "x.jpg").orientation == 1


def test_a_tiff_that_asks_for_a_turn_is_refused(tmp_path):
    (tmp_path / "x.tiff").write_bytes(by_pillow(NOISE, "TIFF", tiffinfo={274: 6}))
    with pytest.raises(ImageError, match="save it upright"):
        read_picture_file(tmp_path / "x.tiff")


def test_what_cannot_be_read_from_disk_is_named(tmp_path):
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    os.mkfifo(tmp_path / "pipe.png")
    with open(tmp_path / "huge.png", "wb") as file:
        file.truncate(10**10)
    for name, said in (
        ("none.png", "does not exist"),
        ("gone.png", "does not exist"),
        ("loop.png", "symbolic links"),
        ("folder.png", "not a file"),
        ("pipe.png", "not a file"),
        ("empty.png", "not a picture"),
        ("text.png", "not a picture"),
        ("huge.png", "at most"),
    ):
        with pytest.raises(ImageError, match=f"{name}.*{said}"):
            read_picture_file(tmp_path / name)
