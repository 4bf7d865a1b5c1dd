"""Malformed and hostile inputs, reproducible by seed."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

SIZES = (0, 1, 2, 3, 7, 8, 16384, 16385, 65535, 2**31 - 1, 2**31, 2**32 - 1)
"""Critical sizes: zero, odd, too small for the networks, limits of node and type."""
CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "rgb16": 6, "mono16": 2}
"""Bytes per pixel of known encodings."""
CELLS = ("bayer_rggb8", "bayer_bggr8", "bayer_gbrg16", "uyvy", "yuyv", "yuv422", "yuv422_yuy2")
"""Encodings with cells of two or more pixels."""
INVALID_ENCODINGS = (
    *("", " ", "rgb", "RGB8", "rgb8 ", "rgb9", "rgb8; jpeg compressed bgr8", "8UC2", "8UC5"),
    *("64FC3", "nv12", "nv21", "bayer_rggb", "{}", "{0}", "%s%s%n", "../../etc/passwd"),
    *("rgb8\nINFO: all is well", "\x1b[2J", "😀", "\u202ebgr8", "None", "x" * 100_000),
)
"""Invalid encodings: misspelt, unsupported, and text with special characters."""
FLOATS = (float("nan"), float("inf"), float("-inf"), -0.0, 3.4e38, 1e-45)
FRAME_IDS = (
    *("", "/", "{0}", "%s%n", "a b", "\n", "\x07\x1b[31m", "\u202eeno", "😀", "x" * 10_000),
)


def picture(
    rng: random.Random, encoding: str = "rgb8", size_hw: tuple[int, int] = (6, 7)
) -> Image:
    """Return a valid image of noise; too small for the networks by default."""
    height, width = size_hw
    step = width * CHANNELS.get(encoding, 3)
    image = Image(height=height, width=width, encoding=encoding, step=step)
    image.data = rng.randbytes(step * height)
    return image


def cut_short(rng: random.Random) -> Image:
    """Return an image with missing data at the end."""
    image = picture(rng, rng.choice(tuple(CHANNELS)), (rng.randint(1, 40), rng.randint(1, 40)))
    image.data = image.data[: rng.randrange(len(image.data))]
    return image


def of_wrong_size(rng: random.Random) -> Image:
    """Return an image whose height or width does not fit its data."""
    image = picture(rng, rng.choice(tuple(CHANNELS)))
    sizes = [size for size in SIZES if not 1 <= size <= 7]
    setattr(image, rng.choice(("height", "width")), rng.choice(sizes))
    return image


def of_wrong_step(rng: random.Random) -> Image:
    """Return an image whose rows overlap or are longer than all data."""
    image = picture(rng, rng.choice(tuple(CHANNELS)))
    too_small = rng.randrange(image.step)
    image.step = rng.choice((too_small, image.step + rng.randint(20, 99), *SIZES[-5:]))
    return image


def of_invalid_encoding(rng: random.Random) -> Image:
    """Return an image with an invalid encoding or random letters."""
    noise = "".join(chr(rng.randrange(1, 0xD800)) for _ in range(rng.randint(1, 30)))
    return picture(rng, rng.choice((*INVALID_ENCODINGS, noise)), (16, 16))


def of_floats(rng: random.Random) -> Image:
    """Return a float image with NaN and infinities."""
    size = rng.randint(1, 16)
    values = np.array(rng.choices(FLOATS, k=size * size), rng.choice(("<f4", "<f8")))
    encoding = {4: "32FC", 8: "64FC"}[values.itemsize] + str(rng.choice((1, 2, 3, 4)))
    image = Image(height=size, width=size, encoding=encoding, step=size * values.itemsize)
    image.data = values.tobytes()
    return image


def of_half_cells(rng: random.Random) -> Image:
    """Return a Bayer or YUV image with an odd side."""
    encoding = rng.choice(CELLS)
    height, width = rng.randrange(1, 40, 2), rng.randrange(1, 40, 2)
    image = Image(height=height, width=width, encoding=encoding, step=width * 2)
    image.data = rng.randbytes(image.step * height)
    return image


def too_small(rng: random.Random) -> Image:
    """Return an image of few pixels."""
    sides = [rng.randint(1, 7), rng.choice((1, 1, 2, 7, 8, 300))]
    rng.shuffle(sides)
    return picture(rng, rng.choice(tuple(CHANNELS)), (sides[0], sides[1]))


def too_narrow(rng: random.Random) -> Image:
    """Return an image as long as the limit, and too narrow for the input size of the networks."""
    sides = [8, rng.choice((16383, 16384))]
    rng.shuffle(sides)
    return picture(rng, "mono8", (sides[0], sides[1]))


def of_random_fields(rng: random.Random) -> Image:
    """Return an image with random fields and too few bytes."""
    image = Image(encoding=rng.choice((*CHANNELS, *CELLS)), is_bigendian=rng.randrange(256))
    image.height, image.width, image.step = rng.choices(SIZES, k=3)
    image.data = rng.randbytes(rng.randrange(64))
    return image


INVALID_IMAGES: tuple[Callable[[random.Random], Image], ...] = (
    *(cut_short, of_wrong_size, of_wrong_step, of_invalid_encoding, of_floats, of_half_cells),
    *(too_small, of_random_fields),
)
"""Makers of inconsistent or unsupported images."""


def unusual_but_valid(rng: random.Random) -> Image:
    """Return a valid image with unusual fields; the node may answer or reject it."""
    side = rng.randint(8, 64)
    image = picture(rng, rng.choice(tuple(CHANNELS)), (side, rng.randint(8, 64)))
    padded = rng.randint(0, 9)
    rows = [
        bytes(image.data[y * image.step : (y + 1) * image.step]) + rng.randbytes(padded)
        for y in range(image.height)
    ]
    image.data = b"".join(rows) + rng.randbytes(rng.randint(0, 99))
    image.step += padded
    image.is_bigendian = rng.choice((0, 1, 2, 255))
    return image


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return the bytes with random changes, insertions and cuts."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        position = rng.randrange(len(changed))
        match rng.randrange(5):
            case 0:
                changed[position] ^= 1 << rng.randrange(8)
            case 1:
                changed[position] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                changed[position : position + 4] = struct.pack("<I", rng.choice(SIZES))
            case 3:
                changed[position:position] = rng.randbytes(rng.randint(1, 9))
            case _:
                del changed[max(position, 8) :]
    return bytes(changed)


# Compressed images


def png_of(size: tuple[int, int], rows: bytes) -> bytes:
    """Return a PNG whose header claims this width and height."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )


def jpeg_of(size: tuple[int, int], jpeg: bytes) -> bytes:
    """Return a JPEG whose header claims this width and height."""
    position = jpeg.index(b"\xff\xc0") + 5
    width, height = size
    return jpeg[:position] + struct.pack(">HH", height, width) + jpeg[position + 4 :]


def encoded(suffix: str, rng: random.Random) -> bytes:
    """Return a small picture of noise in a file format."""
    pixels = np.frombuffer(rng.randbytes(24 * 32 * 3), np.uint8).reshape(24, 32, 3)
    return cv2.imencode(suffix, pixels)[1].tobytes()


def bombs(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield small files that claim gigabytes of pixels, with a name."""
    jpeg = encoded(".jpg", rng)
    for side in (16_000, 30_000, 65_500):
        yield f"JPEG of {side}", jpeg_of((side, side), jpeg)
    for side in (16_384, 32_768, 1 << 20, 2**31 - 1):
        yield f"PNG of {side}", png_of((side, side), bytes(100))
    yield "PPM", b"P6 20000 20000 255\n" + bytes(100)
    yield "PGM", b"P5 2000000000 2000000000 255\n"
    yield "HDR", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 20000 +X 20000\n" + bytes(100)
    size = struct.pack("<IiiHHIIiiII", 40, 20_000, 20_000, 1, 24, 0, 0, 0, 0, 0, 0)
    yield "BMP", b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + size + bytes(100)
    yield "GIF", b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0\x2c" + bytes(30)
    yield "EXR", b"\x76\x2f\x31\x01" + bytes(200)


def compressed(rng: random.Random) -> CompressedImage:
    """Return a compressed image of a damaged or truncated file, or of noise."""
    content = encoded(rng.choice((".jpg", ".png")), rng)
    data = rng.choice(
        (
            damaged(content, rng),
            content[: rng.randrange(len(content) // 2)],
            content[: rng.randrange(40)] + rng.randbytes(rng.randint(1, 400)),
            rng.randbytes(rng.randint(0, 200)),
            b"",
        )
    )
    kind = rng.choice(("jpeg", "png", "rgb8; jpeg compressed bgr8", "", "{}", "😀", "%n"))
    return CompressedImage(format=kind, data=data)


# Queries

CONTROLS = tuple(chr(code) for code in (*range(1, 9), *range(14, 28), 127, 128, 159))


def invalid_text(rng: random.Random) -> str:
    """Return a query that is too long, has too many labels or control characters."""
    name = rng.choice(("mug", "saw", "red mug"))
    return rng.choice(
        (
            "x" * 100_000,
            "; " * 50_000,
            "; ".join(f"thing {number}" for number in range(rng.randint(255, 1500))),
            f"{name}{rng.choice(CONTROLS)}",
            f"{rng.choice(CONTROLS)}{name}; {name}",
        )
    )


UNUSUAL_TEXTS = (
    *("{}", "{0}", "{0.__class__}", "%s%s%n", "${HOME}", "$(reboot)", "'; DROP TABLE", "\\x00"),
    *("😀", "👩‍👩‍👧‍👦", "مرحبا", "\u202egum", "\u200b", "\ufeff", "\u0301" * 300, "ﷺ" * 100),
    *("mug\tsaw", "\u2028", "\r\n", "+", "++a+++b++", ";;;,,,\n\n", "<|endoftext|>", "<b>mug</b>"),
    *("MUG; mug; Mug", "\ufffd" * 20, "\U0010ffff", "\ue000", "0", "nan", "-1", "null", "", " "),
    "x" * 3000,
)
"""Unusual texts without control characters."""


def unusual_text(rng: random.Random) -> str:
    """Return a query of unusual texts."""
    return "; ".join(rng.choices(UNUSUAL_TEXTS, k=rng.randint(1, 3)))


def invalid_labels(rng: random.Random) -> dict[str, list]:
    """Return invalid labels and thresholds."""
    return rng.choice(
        (
            {"labels": [invalid_text(rng)[:5000] + "\x07"], "thresholds": []},
            {"labels": [f"thing {i}" for i in range(rng.randint(255, 3000))], "thresholds": []},
            {"labels": ["mug"], "thresholds": [rng.choice((1.01, -1.5, 1e30, float("inf")))]},
            {"labels": ["mug", "saw"], "thresholds": [float("-inf"), 0.0]},
            {"labels": ["mug"], "thresholds": [0.0] * rng.choice((2, 3, 1000))},
            {"labels": ["mug", "saw"], "thresholds": [0.1]},
            {"labels": [], "thresholds": [0.5]},
        )
    )
