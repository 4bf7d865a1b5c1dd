"""What a search index keeps of an image: CLIP's embedding of it, some local tokens, a thumbnail.

The query is not known yet. So the local tokens are chosen to stand for all tokens of the image:
each token is near a kept one, and a kept one therefore scores nearly as high for any text as the
token with the highest score, which is the peak of the text's similarity map.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.core.files import write_whole
from clip_surgery_ros.core.image_files import encode_image
from clip_surgery_ros.core.pipeline import MIN_SIDE
from clip_surgery_ros.core.presence import distractor_level, evidence
from clip_surgery_ros.core.settings import Settings
from clip_surgery_ros.networks.factory import LoadedNetworks
from clip_surgery_ros.recorded.plan import Item
from clip_surgery_ros.ros.bag import one_line
from clip_surgery_ros.ros.bag_parts import StoredFrame, open_part

ITEMS = "items"
"""Folder of the features of items, in the folder of an index."""
LOCAL_TOKENS = 16
"""Tokens that are kept of each image beside its embedding; docs/recorded.md has the figures."""
THUMBNAIL_WIDTH = 240
"""Pixels: enough to recognise a scene; about 8 kB an image."""
THUMBNAIL_QUALITY = 75
_Row = tuple[StoredFrame, NDArray[np.float16], float, bytes]


@dataclass(frozen=True)
class Features:
    """The features of an item's images that could be read; n images.

    :param vectors: (n, 1 + LOCAL_TOKENS, C) float16 unit rows: the embedding, then the tokens.
    :param level: (n,) float32, evidence at which presence is 0.5, see ``core/presence.py``.
    :param log_time: (n,) int64, ns since the epoch; ``stamp`` of the header; 0 if not known.
    :param copy: (n,) int64, see ``FrameTime``.
    :param thumbnails: JPEG of each image.
    :param skipped: log time of each other image, and why it was left out.
    """

    vectors: NDArray[np.float16]
    level: NDArray[np.float32]
    log_time: NDArray[np.int64]
    copy: NDArray[np.int64]
    stamp: NDArray[np.int64]
    thumbnails: tuple[bytes, ...]
    skipped: tuple[tuple[int, str], ...]


def features_file(key: str, index: Path) -> Path:
    """Return the file that has the features of an item, once it is complete.

    :param key: of the item.
    :param index: folder of the index.
    """
    return index / ITEMS / f"{key}.safetensors"


def spread_tokens(tokens: Tensor, count: int) -> Tensor:
    """Return indices of ``count`` tokens that stand for all: greedy k-centres (Gonzalez 1985).

    The first is the one that is farthest from the mean token, which is what the tokens of an
    image have in common; each of the others is the one farthest from those taken so far. Then no
    token is farther from a kept one than twice the least possible distance.

    :param tokens: (N, C) unit rows.
    :returns: (count,) int64; with fewer tokens, some several times.

    >>> import torch
    >>> tokens = torch.tensor([[1.0, 0.0], [0.96, 0.28], [1.0, 0.0], [0.0, 1.0]])
    >>> spread_tokens(tokens, 2).tolist()
    [3, 0]
    """
    nearest = tokens @ F.normalize(tokens.mean(dim=0), dim=0)
    kept: list[Tensor] = []
    for _ in range(count):
        kept.append(nearest.argmin())
        nearest = nearest.maximum(tokens @ tokens[kept[-1]])
    return nearest.new_tensor([int(index) for index in kept]).long()


def index_item(
    item: Item,
    networks: LoadedNetworks,
    index: Path,
    on_frame: Callable[[], None] = lambda: None,
) -> None:
    """Compute the features of an item's images and write them. One image at a time is read.

    :param on_frame: called after each image.
    :raises ImageError: when the bag's file cannot be opened any more. Images that cannot be read
        are no errors: the result has the reason in their place.
    """
    settings = networks.settings(networks.config)
    rows: list[_Row] = []
    skipped: list[tuple[int, str]] = []
    with open_part(item.part, item.topic) as reader:
        for frame in reader.frames(item.frames, item.together):
            image = frame.image
            if image is None:
                skipped.append((frame.time.log_time, frame.error))
            elif min(image.shape[:2]) < MIN_SIDE:
                skipped.append((frame.time.log_time, "the image is too small"))
            else:
                rows.append((frame, *_features(image, networks, settings), thumbnail(image)))
            on_frame()
    write_whole(features_file(item.key, index), _packed(rows, skipped))


def _features(
    image: NDArray[np.uint8], networks: LoadedNetworks, settings: Settings
) -> tuple[NDArray[np.float16], float]:
    """Return (1 + LOCAL_TOKENS, C) features of an image, and its presence level."""
    tokens = networks.clip.image_tokens(image, settings.windows)[0][0].float()
    rows = [0, *(1 + spread_tokens(tokens[1:], LOCAL_TOKENS)).tolist()]
    kept, level = tokens[rows], settings.presence_level
    offset = level.offset
    if offset is None:
        texts = networks.clip.text_features(settings.distractor_names or ("",)).to(kept)
        offset = float(distractor_level(evidence(kept, texts, level)))
    return kept.cpu().numpy().astype(np.float16), offset


def thumbnail(image: NDArray[np.uint8], width: int = THUMBNAIL_WIDTH) -> bytes:
    """Return an (H, W, 3) image as a JPEG of a width in pixels, or of its own if that is less."""
    width = min(width, image.shape[1])
    height = max(1, round(width * image.shape[0] / image.shape[1]))
    small = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return encode_image(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, THUMBNAIL_QUALITY])


def _packed(rows: Sequence[_Row], skipped: Sequence[tuple[int, str]]) -> bytes:
    """Return the content of a file of features."""
    frames, vectors, levels, thumbnails = zip(*rows, strict=True) if rows else ((), (), (), ())
    about = json.dumps(skipped).encode()
    return save(
        {
            "vectors": np.stack(vectors) if rows else np.zeros((0, 1, 0), np.float16),
            "level": np.array(levels, np.float32),
            "log_time": np.array([frame.time.log_time for frame in frames], np.int64),
            "copy": np.array([frame.time.copy for frame in frames], np.int64),
            "stamp": np.array([frame.stamp or 0 for frame in frames], np.int64),
            "thumbnails": np.frombuffer(b"".join(thumbnails), np.uint8),
            "ends": np.cumsum([len(each) for each in thumbnails], dtype=np.int64),
            "skipped": np.frombuffer(about, np.uint8),
        }
    )


def read_features(path: Path) -> Features:
    """Read the features of an item.

    :raises ClipSurgeryError: when the file is missing or damaged, with what to do.
    """
    try:
        content = load(path.read_bytes())
        data, ends = content["thumbnails"].tobytes(), content["ends"].tolist()
        return Features(
            content["vectors"],
            content["level"],
            content["log_time"],
            content["copy"],
            content["stamp"],
            tuple(data[start:end] for start, end in pairwise([0, *ends])),
            tuple((time, error) for time, error in json.loads(content["skipped"].tobytes())),
        )
    except (OSError, SafetensorError, LookupError, TypeError, ValueError) as error:
        raise ClipSurgeryError(
            f"{path} is damaged ({one_line(error)}); delete it and index the bags again: only its "
            "images are read again"
        ) from error
