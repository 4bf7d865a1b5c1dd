"""Run a protocol over the pictures of its data set; a run that was ended goes on where it was."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from clip_surgery_ros.core.files import write_whole
from clip_surgery_ros.evaluation.published.datasets import LabelledPictures
from clip_surgery_ros.evaluation.published.prediction import Words
from clip_surgery_ros.evaluation.published.protocols import PLAIN, SURGERY, Protocol
from clip_surgery_ros.evaluation.published.tallies import Figures, Tally, make_tally
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.factory import LoadedNetworks

METHODS = (PLAIN, SURGERY)
"""The network without surgery is the control: its published figures tell whether a difference is
due to data, names and sizes."""
KEEP_S = 20.0
"""Seconds from one writing of the sums to the next: a run that is killed loses at most these."""
FORMAT = 1
"""Raise it when sums are made otherwise: older ones are then not gone on with."""
_DONE = "pictures"


def measure(
    clip: ClipBackend,
    protocol: Protocol,
    pictures: LabelledPictures,
    kept: Path | None = None,
    keep_s: float = KEEP_S,
) -> Mapping[str, Figures]:
    """Measure both methods, with a progress bar.

    :param kept: file of the sums of a run that was ended, see :func:`kept_file`; it is gone on
        with, written while the run goes on, and deleted at its end. None keeps nothing.
    :param keep_s: seconds from one writing of it to the next.
    :returns: figures by method.
    :raises DatasetError: when a mask is wrong; sums of the pictures before it are kept.
    :raises ImageError: when a file cannot be read; likewise.
    """
    words = Words.of_classes(clip, protocol.classes)
    tallies = {method: make_tally(clip, method, words, protocol) for method in METHODS}
    start = _load(kept, tallies) if kept else 0
    if start:
        print(f"goes on after {start} of {len(pictures)} pictures ({kept})", file=sys.stderr)
    bar = tqdm(
        pictures.read(start),
        desc=protocol.dataset,
        initial=start,
        total=len(pictures),
        unit="picture",
    )
    written = time.monotonic()
    for done, picture in enumerate(bar, start + 1):
        for tally in tallies.values():
            tally.add(picture)
        if kept and time.monotonic() - written >= keep_s:
            _save(kept, done, tallies)
            written = time.monotonic()
    if kept:
        kept.unlink(missing_ok=True)
    return {method: tally.figures() for method, tally in tallies.items()}


def kept_file(
    folder: Path,
    networks: LoadedNetworks,
    checksums: Sequence[str],
    protocol: Protocol,
    pictures: LabelledPictures,
) -> Path:
    """Return the file for the sums of a run. Its name depends on all that the figures depend on.

    :param folder: that of kept sums; the file need not exist.
    :param checksums: of the networks' weight files.
    """
    facts = {
        "format": FORMAT,
        "protocol": asdict(protocol),
        "weights": list(checksums),
        "clip": [
            networks.config.clip_model,
            networks.clip.input_size,
            networks.config.attention,
            networks.precision,
        ],
        "files": [
            (str(picture.absolute()), str(mask.absolute()), mask.stat().st_size)
            for picture, mask in pictures.files
        ],
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return folder / f"{protocol.dataset}_{protocol.paper}_{digest[:16]}.npz"


def _save(path: Path, done: int, tallies: Mapping[str, Tally]) -> None:
    """Write the sums and the number of pictures in them."""
    arrays: dict[str, Any] = {
        f"{method}/{name}": array
        for method, tally in tallies.items()
        for name, array in tally.arrays.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez(buffer, **{_DONE: np.array(done), **arrays})
    write_whole(path, buffer.getvalue())


def _load(path: Path, tallies: Mapping[str, Tally]) -> int:
    """Read the sums into empty tallies.

    :returns: the number of pictures in them; 0 without a file, or with one that is damaged.
    """
    if not path.exists():
        return 0
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = {
                (method, name): stored[f"{method}/{name}"]
                for method, tally in tallies.items()
                for name in tally.arrays
            }
            done = int(stored[_DONE])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        print(f"begins anew: {path} is damaged ({error})", file=sys.stderr)
        return 0
    for (method, name), value in values.items():
        tallies[method].arrays[name][...] = value
    return done
