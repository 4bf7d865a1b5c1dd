"""Malformed and hostile depth, camera models and transforms, reproducible by seed.

A maker changes a good message, whose stamp is that of its image, so that the node pairs them.
"""

from __future__ import annotations

import itertools
import math
import random
import struct
from collections.abc import Callable

import cv2
import numpy as np
from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
from ros.hostile import FLOATS, FRAME_IDS, INVALID_ENCODINGS, SIZES, damaged, encoded, png_of
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

NUMBERS = (*FLOATS, math.pi, -1.0, 0.0, 1e-300, 1e300, 1.7e308, -1e18)
STAMPS = ((-1, 0), (-(2**31), 2**32 - 1), (2**31 - 1, 2**32 - 1), (0, 0), (0, 2**32 - 1), (1, 5))
DEPTH_ENCODINGS = ("16UC1", "mono16", "32FC1")

# Depth


def of_wrong_layout(image: Image, rng: random.Random) -> None:
    """Give a side or a step that does not fit the data."""
    setattr(image, rng.choice(("height", "width", "step")), rng.choice(SIZES))


def cut_short(image: Image, rng: random.Random) -> None:
    """Leave out data at the end."""
    image.data = image.data[: rng.randrange(len(image.data))]


def of_other_encoding(image: Image, rng: random.Random) -> None:
    """Give an encoding that the data are not of."""
    noise = "".join(chr(rng.randrange(1, 0xD800)) for _ in range(rng.randint(1, 30)))
    image.encoding = rng.choice((*INVALID_ENCODINGS, "32FC1", "mono8", "rgb8", "64FC1", noise))
    image.is_bigendian = rng.choice((0, 1, 2, 255))


def of_impossible_depth(image: Image, rng: random.Random) -> None:
    """Give metres of NaN, infinity, denormals and numbers below 0 and near the limit."""
    count = image.height * image.width
    image.encoding, image.step = "32FC1", 4 * image.width
    image.data = np.array(rng.choices((*FLOATS, -1.0, 1e-30, 0.8, 3.0), k=count), "<f4").tobytes()


def of_other_size(image: Image, rng: random.Random) -> None:
    """Give a whole depth image of another size, down to a single pixel."""
    image.height, image.width = (
        rng.choice((1, 2, 3, 48, 97, 700)),
        rng.choice((1, 2, 64, 128, 933)),
    )
    image.encoding = rng.choice(DEPTH_ENCODINGS)
    image.step = image.width * (4 if image.encoding == "32FC1" else 2)
    image.data = rng.randbytes(image.step * image.height)


def of_odd_frame(message: Image | CompressedImage | CameraInfo, rng: random.Random) -> None:
    """Give a frame with an odd name, or one that nobody knows."""
    message.header.frame_id = rng.choice((*FRAME_IDS, "//camera", "camera/", "lens"))


def of_odd_stamp(message: Image | CompressedImage | CameraInfo, rng: random.Random) -> None:
    """Give a stamp of another clock, or none."""
    stamp = message.header.stamp
    stamp.sec, stamp.nanosec = rng.choice(STAMPS)


DEPTH = (
    *(of_wrong_layout, cut_short, of_other_encoding, of_impossible_depth, of_other_size),
    *(of_odd_frame, of_odd_stamp),
)

# Compressed depth


def png16(rng: random.Random, side: int = 24) -> bytes:
    """Return a PNG of 16 bits of noise."""
    pixels = np.frombuffer(rng.randbytes(side * 32 * 2), np.uint16).reshape(side, 32)
    return cv2.imencode(".png", pixels)[1].tobytes()


def of_no_depth_file(message: CompressedImage, rng: random.Random) -> None:
    """Give a picture without depth: of 8 bits, of colours, a JPEG, noise, a decompression bomb."""
    bomb = png_of((rng.choice((16384, 2**31 - 1)),) * 2, bytes(100))
    bodies = (encoded(".png", rng), encoded(".jpg", rng), rng.randbytes(rng.randrange(300)), bomb)
    message.data = bytes(12) + rng.choice(bodies)


def of_damaged_png(message: CompressedImage, rng: random.Random) -> None:
    """Give a PNG of depth with damage."""
    message.data = bytes(12) + damaged(png16(rng), rng)


def of_damaged_rvl(message: CompressedImage, rng: random.Random) -> None:
    """Give RVL of noise, of impossible sizes, or without data."""
    sizes = [rng.choice((64, 48, 1, 0, -1, 8000, 2**31 - 1, -(2**31))) for _ in range(2)]
    noise = rng.choice((rng.randbytes(rng.randrange(400)), b"\xff" * 64, bytes(64)))
    message.format = rng.choice(("16UC1", "32FC1")) + "; compressedDepth rvl"
    message.data = bytes(12) + struct.pack("<ii", *sizes) + noise


def of_odd_quantisation(message: CompressedImage, rng: random.Random) -> None:
    """Give numbers A and B of 32FC1 that are 0, infinite, NaN or senseless."""
    numbers = [rng.choice((*FLOATS, 0.0, 1.0, -5.0, 100.0)) for _ in range(2)]
    message.format = "32FC1; compressedDepth png"
    message.data = struct.pack("<iff", rng.randrange(99), *numbers) + png16(rng)


def of_other_format(message: CompressedImage, rng: random.Random) -> None:
    """Give a format that the data are not of."""
    kinds = ("jpeg", "png", "", ";", "16UC1", "rgb8; compressedDepth", "; compressedDepth", "{}")
    more = ("16UC1; compressedDepth rvl", "16UC1;compressedDepth" + "x" * 100_000, "\x1b[2J\n😀")
    message.format = rng.choice((*kinds, *more))


def too_short(message: CompressedImage, rng: random.Random) -> None:
    """Give a few bytes."""
    message.data = rng.randbytes(rng.randrange(24))


COMPRESSED = (
    *(of_no_depth_file, of_damaged_png, of_damaged_rvl, of_odd_quantisation, of_other_format),
    *(too_short, of_odd_frame, of_odd_stamp),
)

# Camera models


def of_odd_matrix(info: CameraInfo, rng: random.Random) -> None:
    """Give focal lengths or centres of 0, NaN, infinity and near the limits."""
    for _ in range(rng.randint(1, 3)):
        place, number = rng.choice((0, 2, 4, 5)), rng.choice(NUMBERS)
        info.k[place] = number


def of_odd_size(info: CameraInfo, rng: random.Random) -> None:
    """Give sizes of the picture that it does not have."""
    setattr(info, rng.choice(("height", "width")), rng.choice(SIZES))


def of_odd_region(info: CameraInfo, rng: random.Random) -> None:
    """Give a region of interest and binning outside the picture."""
    for name in ("x_offset", "y_offset", "height", "width"):
        setattr(info.roi, name, rng.choice((*SIZES, 64, 48)))
    info.binning_x, info.binning_y = rng.choice(SIZES), rng.choice(SIZES)


def of_odd_lens(info: CameraInfo, rng: random.Random) -> None:
    """Give distortion of any length, with any numbers, of a model that nobody has."""
    info.d = rng.choices((*NUMBERS, 0.1, -0.3), k=rng.choice((0, 1, 4, 5, 8, 13, 1000)))
    info.distortion_model = rng.choice(("plumb_bob", "equidistant", "", "{}", "😀", "x" * 9999))


INFOS = (of_odd_matrix, of_odd_size, of_odd_region, of_odd_lens, of_odd_frame, of_odd_stamp)

# Transforms


def random_transform(rng: random.Random, parent: str, child: str) -> TransformStamped:
    """Return a possible transform with a stamp of long ago."""
    sent = TransformStamped(child_frame_id=child)
    sent.header.frame_id, sent.header.stamp.sec = parent, rng.randrange(100)
    sent.transform.translation = Vector3(x=rng.uniform(-1, 1))
    return sent


def with_odd_numbers(rng: random.Random) -> TFMessage:
    """Return transforms with impossible numbers, of the camera too."""
    sent = random_transform(rng, "map", rng.choice(("camera", "depth_camera", "arm")))
    a, b, c, d = (rng.choice((*NUMBERS, 0.3, 1.0)) for _ in range(4))
    sent.transform.rotation = Quaternion(x=a, y=b, z=c, w=d)
    if rng.random() < 0.5:
        sent.transform.translation = Vector3(x=d, y=a, z=b)
        sent.transform.rotation = rng.choice((Quaternion(), Quaternion(w=1.09), Quaternion(w=-1)))
    return TFMessage(transforms=[sent])


def with_odd_names(rng: random.Random) -> TFMessage:
    """Return transforms between frames with odd names, also of a frame in itself."""
    pairs = [rng.choices((*FRAME_IDS, "map", "//map", "arm"), k=2) for _ in range(5)]
    return TFMessage(transforms=[random_transform(rng, *pair) for pair in pairs])


def with_a_loop(rng: random.Random) -> TFMessage:
    """Return a loop of frames; the map may be in it."""
    names = [
        "map" if rng.random() < 0.2 else "loop",
        *(f"loop{i}" for i in range(rng.randint(1, 5))),
    ]
    pairs = zip(names, [*names[1:], names[0]], strict=True)
    return TFMessage(transforms=[random_transform(rng, *pair) for pair in pairs])


def with_many_frames(rng: random.Random) -> TFMessage:
    """Return a long chain of frames below the camera."""
    names = ["camera", *(f"link {rng.randrange(500)}" for _ in range(50))]
    pairs = itertools.pairwise(names)
    return TFMessage(transforms=[random_transform(rng, *pair) for pair in pairs])


def with_odd_stamps(rng: random.Random) -> TFMessage:
    """Return transforms of other clocks; none, of the camera, is of the future.

    As in tf2, one of the future keeps those of the present out.
    """
    sent = random_transform(rng, "map", "arm")
    stamp = sent.header.stamp
    stamp.sec, stamp.nanosec = rng.choice(STAMPS)
    old = random_transform(rng, "map", "camera")
    old.header.stamp.sec = rng.choice((-(2**31), -1, 0, 5))
    return TFMessage(transforms=[sent, old])


def with_nothing(_: random.Random) -> TFMessage:
    """Return no transform."""
    return TFMessage()


TRANSFORMS: tuple[Callable[[random.Random], TFMessage], ...] = (
    *(with_odd_numbers, with_odd_names, with_a_loop, with_many_frames, with_odd_stamps),
    with_nothing,
)
