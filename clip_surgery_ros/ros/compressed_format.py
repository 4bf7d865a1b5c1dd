"""What ``CompressedImage.format`` says of the pixels in a file.

image_transport's ``compressed`` codec writes ``SOURCE; CODEC compressed TARGET``: the image's own
encoding, then ``jpeg``, ``png`` or ``tiff``, then the encoding that it was converted to before it
was compressed, or nothing where it was not. Other drivers write anything, often ``jpeg``.
"""

from __future__ import annotations

import re

from clip_surgery_ros.core.errors import ImageError

MOSAICS = ("bayer_rggb", "bayer_bggr", "bayer_gbrg", "bayer_grbg")
"""Bayer mosaics, by their first row and their second."""


def stored_colours(text: str, channels: int) -> str:
    """How the decoded pixels are to be read.

    What was given to the encoder counts, and that is the target where one is named. For colours
    without one, JPEG and PNG have a meaning of their own; of TIFF, image_transport makes files
    without a conversion, whatever the channels mean. A mosaic that was made grey or coloured
    before it was compressed is none any more.

    :param text: ``CompressedImage.format``.
    :param channels: of the decoded pixels in OpenCV's order: 1, 3 or 4.
    :return: an encoding's name without its bits: ``mono``, ``bgr``, ``rgba``, ``bayer_rggb``...
    :raises ImageError: when it is said to be a mosaic of an unknown kind or of several channels.
    """
    source, codec, target = _parts(text)
    told = target or (source if codec == "tiff" or _is_mosaic(source) else "")
    if _is_mosaic(told) and (channels == 1 or told == target):
        return _mosaic(told, channels)
    if channels == 1:
        return "mono"
    return ("rgb" if told.startswith("rgb") else "bgr") + ("a" if channels == 4 else "")


def _parts(text: str) -> tuple[str, str, str]:
    """Source encoding, codec and target encoding; empty where the text has none."""
    source, _, rest = text.lower().partition(";")
    codec, _, target = rest.partition("compressed")
    return source.strip(), codec.strip(), target.strip()


def _is_mosaic(encoding: str) -> bool:
    return encoding.startswith("bayer")


def _mosaic(encoding: str, channels: int) -> str:
    """The mosaic's name without its bits."""
    name = re.sub(r"\d+$", "", encoding)
    if name not in MOSAICS:
        raise ImageError(f"mosaic {encoding[:80]!r} is not known; expected {', '.join(MOSAICS)}")
    if channels != 1:
        raise ImageError(f"{encoding} is a mosaic of one channel, but the picture has {channels}")
    return name
