"""Asks an index: in which images of which bags is a thing?

The two searches give candidates. The features of these few images then give the score: the
presence that the node computes (``core/presence.py``), from the tokens that are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.core.presence import PresenceLevel
from clip_surgery_ros.recorded.features import features_file, read_features
from clip_surgery_ros.recorded.index import FRAME, IndexedBag, damaged, read_manifest

PROBES = 48
"""Cells of a large index that are searched; docs/recorded.md has the figures."""
CANDIDATES = 256
"""Entries that each search gives first. Far more than answers: neighbouring images are alike, and
answers are some seconds apart. More cost time: their features are read and compared."""
MOST_CANDIDATES = 16 * CANDIDATES
"""When too few answers are far enough apart, four times as many are asked for, up to these."""


@dataclass(frozen=True)
class Answer:
    """An image in which a thing may be.

    :param log_time: when it was recorded, ns since the epoch; ``stamp`` of its header, 0 if that
        is not known.
    :param copy: see ``FrameTime``.
    :param file: of the bag, which has the image.
    :param presence: 0 to 1, by which answers are sorted.
    :param item: key of its item; ``row`` is its place there.
    """

    bag: IndexedBag
    log_time: int
    stamp: int
    copy: int
    file: str
    presence: float
    item: str
    row: int


class Index:
    """An index that is open. Files are mapped into memory: only what is asked for is read.

    :raises ConfigError: when there is no index in the folder.
    :raises ClipSurgeryError: when it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        manifest = read_manifest(folder)
        if manifest is None or not manifest.built:
            raise ConfigError(
                f"there is no index in {folder}; `clip_surgery search --index {folder} BAG` makes "
                "one"
            )
        self.folder, self.manifest = folder, manifest
        try:
            self._frames = np.load(self._path("frames.npy"), allow_pickle=False)
            self._vectors = np.load(self._path("vectors.npy"), "r", allow_pickle=False)
            self._searches = [self._search("whole", 1), self._search("local", 0)]
            if self._frames.dtype != FRAME or len(self._frames) != len(self._vectors):
                raise ValueError("its files do not fit each other")
        except (OSError, ValueError, EOFError, RuntimeError) as error:  # FAISS raises the last
            raise damaged(folder / manifest.built, error) from error

    @property
    def entries(self) -> int:
        """Number of features."""
        return int(np.prod(self._vectors.shape[:2]))

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self._frames)

    def ask(
        self,
        texts: NDArray[np.float32],
        level: PresenceLevel,
        count: int,
        apart_s: float = 0.0,
    ) -> list[Answer]:
        """Return the images in which one of some names is, the most likely ones first.

        ``presence = sigmoid(scale * (cos(embedding, text) + peak_weight * max_k cos(token_k, text)
        - level))``, the highest of the names.

        :param texts: (T, C) unit rows, the features of the names.
        :param level: of the networks; its offset is that of each image.
        :param count: greatest number of answers.
        :param apart_s: least time between two answers of the same bag.
        """
        wanted = CANDIDATES
        while True:
            numbers = self._candidates(texts, wanted)
            answers = self._best(numbers, texts, level, count, round(apart_s * 1e9))
            if len(answers) == count or len(numbers) == self.images or wanted >= MOST_CANDIDATES:
                return answers
            wanted *= 4

    def thumbnail(self, answer: Answer) -> bytes:
        """Return a small JPEG of an answer's image."""
        return read_features(features_file(answer.item, self.folder)).thumbnails[answer.row]

    def _best(
        self,
        numbers: NDArray[np.int64],
        texts: NDArray[np.float32],
        level: PresenceLevel,
        count: int,
        apart_ns: int,
    ) -> list[Answer]:
        """Return the best of some images, see :meth:`ask`."""
        cosines = np.asarray(self._vectors[numbers], np.float32) @ texts.T  # (n, 1 + K, T)
        found = cosines[:, 0] + level.peak_weight * cosines[:, 1:].max(axis=1)
        logits = level.scale * (found.max(axis=1) - self._frames["level"][numbers])
        # Where presence is rounded to 1, logits still tell images apart.
        order = np.lexsort((numbers, -logits))
        return self._apart(numbers[order], logits[order], count, apart_ns)

    def _candidates(self, texts: NDArray[np.float32], wanted: int) -> NDArray[np.int64]:
        """Return numbers of images, sorted: those of the best entries of each search."""
        numbers = []
        for search, each in zip(self._searches, (1, self._vectors.shape[1] - 1), strict=True):
            _, entries = search.search(np.ascontiguousarray(texts), min(wanted, search.ntotal))
            numbers.append(entries[entries >= 0] // each)
        return np.unique(np.concatenate(numbers))

    def _apart(
        self,
        numbers: NDArray[np.int64],
        logits: NDArray[np.float32],
        count: int,
        apart_ns: int,
    ) -> list[Answer]:
        answers: list[Answer] = []
        taken: list[tuple[int, int]] = []
        for number, logit in zip(numbers, logits, strict=True):
            frame = self._frames[number]
            place = int(frame["bag"]), int(frame["log_time"])
            if any(bag == place[0] and abs(time - place[1]) < apart_ns for bag, time in taken):
                continue
            taken.append(place)
            answers.append(self._answer(frame, float(logit)))
            if len(answers) == count:
                break
        return answers

    def _answer(self, frame: Any, logit: float) -> Answer:
        bag = self.manifest.bags[frame["bag"]]
        key, file = self._items[frame["item"]]
        presence = float(1 / (1 + np.exp(-np.clip(logit, -80, 80))))
        return Answer(
            bag,
            log_time=int(frame["log_time"]),
            stamp=int(frame["stamp"]),
            copy=int(frame["copy"]),
            file=file,
            presence=presence,
            item=key,
            row=int(frame["row"]),
        )

    @cached_property
    def _items(self) -> Sequence[tuple[str, str]]:
        """Key and file of each item."""
        bags = self.manifest.bags
        return [pair for bag in bags for pair in zip(bag.items, bag.files, strict=True)]

    def _path(self, name: str) -> Path:
        path = self.folder / f"{self.manifest.built}.{name}"
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing")
        return path

    def _search(self, name: str, each: int) -> Any:
        """Open a search; it must have one entry of each image, or of each local token."""
        import faiss

        search = faiss.read_index(str(self._path(f"{name}.faiss")), faiss.IO_FLAG_MMAP)
        if hasattr(search, "nprobe"):
            search.nprobe = PROBES
        images, rows, channels = self._vectors.shape
        if search.ntotal != images * (each or rows - 1) or search.d != channels:
            raise ValueError("its files do not fit each other")
        return search
