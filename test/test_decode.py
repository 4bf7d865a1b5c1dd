"""Picture files: intact files decode exactly, damaged files raise an error of one line."""

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


def encode_with_pillow(pixels, kind, **options):
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def jpeg(kind="baseline"):
    return encode_with_pillow(NOISE, "JPEG", quality=95, **JPEGS[kind])


def encode_with_opencv(suffix, pixels=NOISE):
    return cv2.imencode(suffix, pixels)[1].tobytes()


def is_rejected(data, error="damaged|cannot be decoded"):
    with pytest.raises(ImageError, match=error) as refusal:
        decode(data, "picture x", DISK_FORMATS)
    return "\n" not in str(refusal.value)


def scan_start(data):
    """Return where the compressed pixels begin."""
    return data.rindex(b"\xff\xda") + 14


@pytest.mark.parametrize("kind", JPEGS)
def test_jpeg_decodes_as_with_opencv(kind):
    data = jpeg(kind)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(decode(data, "x", MESSAGE_FORMATS).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp", ".ppm"])
def test_lossless_file_decodes_to_the_saved_pixels(suffix):
    np.testing.assert_array_equal(decode(encode_with_opencv(suffix), "x", DISK_FORMATS), NOISE)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_values_and_channels_are_kept(suffix, channels):
    pixels = np.random.default_rng(1).integers(0, 65536, (6, 8, channels), np.uint16).squeeze()
    np.testing.assert_array_equal(
        decode(encode_with_opencv(suffix, pixels), "x", MESSAGE_FORMATS), pixels
    )


@pytest.mark.parametrize("kind", JPEGS)
def test_jpeg_cut_at_any_byte_is_rejected(kind):
    data = jpeg(kind)
    assert all(is_rejected(data[:length]) for length in range(1, len(data)))


@pytest.mark.parametrize("kind", JPEGS)
def test_jpeg_cut_at_any_byte_with_end_marker_is_rejected(kind):
    data = jpeg(kind)
    # In the last bytes only padding bits might be missing.
    assert all(is_rejected(data[:cut] + END) for cut in range(scan_start(data), len(data) - 6))


@pytest.mark.parametrize("kind", JPEGS)
def test_jpeg_without_its_middle_is_rejected(kind):
    """A third is missing: a decoder cannot detect every loss of a few bytes."""
    data = jpeg(kind)
    missing = (len(data) - scan_start(data)) // 3
    start = scan_start(data) + missing
    assert is_rejected(data[:start] + data[start + missing :])


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("tail", [bytes(1000), b"junk\xff\xd8\xff\xda", b"\xff" * 7])
def test_bytes_after_the_end_of_a_jpeg_are_ignored(kind, tail):
    intact = decode(jpeg(kind), "x", MESSAGE_FORMATS)
    np.testing.assert_array_equal(decode(jpeg(kind) + tail, "x", MESSAGE_FORMATS), intact)


def test_stray_bytes_before_a_jpeg_marker_are_ignored():
    """Cheap webcams have them in each frame."""
    data = jpeg("restarts")
    position = data.index(b"\xff\xd2", scan_start(data))
    stray = data[:position] + bytes(9) + data[position:]
    intact = decode(data, "x", MESSAGE_FORMATS)
    assert np.abs(decode(stray, "x", MESSAGE_FORMATS).astype(int) - intact).max() <= 1
    assert is_rejected(stray[: len(stray) // 2])


def test_motion_jpeg_frame_without_huffman_tables_is_read():
    """Such AVI1 frames rely on the standard Huffman tables."""
    intact = data = jpeg()
    position = 2
    while data[position + 1] != 0xDA:
        length = 2 + struct.unpack(">H", data[position + 2 : position + 4])[0]
        if data[position + 1] == 0xC4:
            data, length = data[:position] + data[position + length :], 0
        position += length
    assert len(data) < len(intact)
    np.testing.assert_array_equal(
        decode(data, "x", MESSAGE_FORMATS), decode(intact, "x", MESSAGE_FORMATS)
    )


def test_cmyk_jpeg_is_read_and_rejected_when_cut():
    file = io.BytesIO()
    PIL.Image.new("CMYK", (16, 8), (0, 255, 255, 0)).save(file, "JPEG", quality=95)
    red = decode(file.getvalue(), "x", DISK_FORMATS)
    assert red.shape == (8, 16, 3) and red[4, 8, 2] > red[4, 8, 0]
    assert is_rejected(file.getvalue()[:-20])


def test_cmyk_tiff_is_rejected():
    file = io.BytesIO()
    PIL.Image.new("CMYK", (16, 8)).save(file, "TIFF")
    assert is_rejected(file.getvalue(), "save it in RGB")


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp", ".ppm"])
def test_lossless_file_cut_at_any_byte_is_rejected(suffix):
    data = encode_with_opencv(suffix)
    lengths = {*range(1, len(data), 23), *range(len(data) - 30, len(data))}
    assert all(is_rejected(data[:length]) for length in lengths)


def test_png_without_its_middle_is_rejected_but_not_with_a_tail():
    data = encode_with_opencv(".png")
    middle = len(data) // 2
    assert is_rejected(data[:middle] + data[middle + 100 :])
    assert is_rejected(data[:middle] + bytes(50) + data[middle + 50 :])
    np.testing.assert_array_equal(decode(data + b"tail", "x", MESSAGE_FORMATS), NOISE)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff"])
def test_decoder_prints_nothing_for_damaged_files(suffix, capfd):
    data = encode_with_opencv(suffix)
    assert is_rejected(data[: len(data) // 2])
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
def test_picture_larger_than_the_limits_is_rejected_before_decoding(data):
    assert is_rejected(data, "at most 64 million|refused")


def test_limits_are_above_the_sizes_of_cameras():
    assert MAX_PIXELS > 8192 * 6144 and MAX_SIDE > 8192


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_depth_values_are_rejected(dtype):
    assert is_rejected(encode_with_opencv(".tiff", np.ones((4, 4), dtype)), "a depth image")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_picture_is_read_as_stored_with_its_orientation(orientation, tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "x.png").write_bytes(encode_with_pillow(NOISE, "PNG", exif=exif))
    picture = read_picture_file(tmp_path / "x.png")
    np.testing.assert_array_equal(picture.image_rgb, NOISE)
    with PIL.Image.open(tmp_path / "x.png") as opened:
        upright = np.asarray(PIL.ImageOps.exif_transpose(opened))
    np.testing.assert_array_equal(picture.upright(), upright)


def test_damaged_exif_data_mean_no_rotation(tmp_path):
    data = encode_with_pillow(NOISE, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff junk")
    (tmp_path / "x.jpg").write_bytes(data)
    assert read_picture_file(tmp_path / "x.jpg").orientation == 1


def test_tiff_with_an_orientation_is_rejected(tmp_path):
    (tmp_path / "x.tiff").write_bytes(encode_with_pillow(NOISE, "TIFF", tiffinfo={274: 6}))
    with pytest.raises(ImageError, match="save it upright"):
        read_picture_file(tmp_path / "x.tiff")


def test_unreadable_path_is_named(tmp_path):
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    os.mkfifo(tmp_path / "pipe.png")
    with open(tmp_path / "huge.png", "wb") as file:
        file.truncate(10**10)
    for name, error in (
        ("none.png", "does not exist"),
        ("gone.png", "does not exist"),
        ("loop.png", "symbolic links"),
        ("folder.png", "not a file"),
        ("pipe.png", "not a file"),
        ("empty.png", "not a picture"),
        ("text.png", "not a picture"),
        ("huge.png", "at most"),
    ):
        with pytest.raises(ImageError, match=f"{name}.*{error}"):
            read_picture_file(tmp_path / name)
