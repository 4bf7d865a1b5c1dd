"""Reads ``CompressedImage.format``, which says what the pixels of a compressed image mean.

image_transport's ``compressed`` codec writes ``SOURCE; CODEC compressed TARGET``: the image's own
encoding, then ``jpeg``, ``png`` or ``tiff``, then the encoding that the image was converted to
before compression, or nothing without a conversion. Other drivers write anything, often ``jpeg``.
"""

from __future__ import annotations

import re

from clip_surgery_ros.core.errors import ImageError

MOSAICS = ("bayer_rggb", "bayer_bggr", "bayer_gbrg", "bayer_grbg")
"""Bayer mosaics, named by their first and second row."""


def stored_colours(text: str, channels: int) -> str:
    """Return the encoding of decoded pixels.

    The target is what the encoder got, so it decides where it is named. Without a target, JPEG
    and PNG define the order of colours themselves; image_transport writes TIFF without any
    conversion, so there the source decides. A mosaic that was converted to grey or colours before
    compression is no mosaic any more.

    >>> stored_colours("bgr8; jpeg compressed bgr8", channels=3)
    'bgr'
    >>> stored_colours("bayer_rggb8; png compressed ", channels=1)
    'bayer_rggb'

    :param text: ``CompressedImage.format``.
    :param channels: number of channels of the decoded pixels, in OpenCV's order: 1, 3 or 4.
    :return: an encoding's name without its bits: ``mono``, ``bgr``, ``rgba``, ``bayer_rggb``...
    :raises ImageError: when ``text`` names an unknown mosaic, or a mosaic of several channels.
    """
    source, codec, target = _parts(text)
    encoding = target or (source if codec == "tiff" or _is_mosaic(source) else "")
    if _is_mosaic(encoding) and (channels == 1 or encoding == target):
        return _mosaic(encoding, channels)
    if channels == 1:
        return "mono"
    return ("rgb" if encoding.startswith("rgb") else "bgr") + ("a" if channels == 4 else "")


def _parts(text: str) -> tuple[str, str, str]:
    """Return source encoding, codec and target encoding; empty where the text has none."""
    source, _, rest = text.lower().partition(";")
    codec, _, target = rest.partition("compressed")
    return source.strip(), codec.strip(), target.strip()


def _is_mosaic(encoding: str) -> bool:
    return encoding.startswith("bayer")


def _mosaic(encoding: str, channels: int) -> str:
    """Return a mosaic's name without its bits."""
    name = re.sub(r"\d+$", "", encoding)
    if name not in MOSAICS:
        raise ImageError(f"mosaic {encoding[:80]!r} is not known; expected {', '.join(MOSAICS)}")
    if channels != 1:
        raise ImageError(f"{encoding} is a mosaic of one channel, but the picture has {channels}")
    return name
