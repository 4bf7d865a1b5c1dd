"""Keeps the views of the sets on disk, as rendering one takes a third of a second."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.core.files import write_together
from clip_surgery_ros.world.asking import Thing
from clip_surgery_ros.world.sets import SETS, SIZE, SetView

VERSION = 2
"""Of all that makes a view: objects, scenes, renderer, and the sets. Raise it when one changes."""
PICTURE, IDS, TRUTH = "{:05d}.png", "{:05d}_ids.png", "{:05d}.json"
"""Files of a view: without loss, as JPEG would change pixels."""


def views(
    folder: Path, set_name: str, split: str, count: int, size: tuple[int, int] = SIZE
) -> Iterator[SetView]:
    """Yield the first views of a set, from disk or rendered and then kept there.

    :param folder: of all kept views; those of another version are left alone.
    :param set_name: key of ``sets.SETS``.
    :param size: width and height, pixels.
    :raises WorldError: a view cannot be rendered, or its files are damaged.
    """
    own = folder / f"version_{VERSION}" / f"{size[0]}x{size[1]}" / split / set_name
    for index in range(count):
        if not all((own / name.format(index)).is_file() for name in (PICTURE, IDS, TRUTH)):
            _write(own, index, SETS[set_name].view(split, index, size))
        yield _read(own, index)


def _write(folder: Path, index: int, view: SetView) -> None:
    truth = {"seed": view.seed, "things": [asdict(thing) for thing in view.things]}
    with write_together(folder) as unfinished:
        bgr = np.ascontiguousarray(view.rgb[..., ::-1])
        cv2.imwrite(str(unfinished / PICTURE.format(index)), bgr)
        cv2.imwrite(str(unfinished / IDS.format(index)), view.ids)
        (unfinished / TRUTH.format(index)).write_text(json.dumps(truth))


def _read(folder: Path, index: int) -> SetView:
    bgr = cv2.imread(str(folder / PICTURE.format(index)))
    ids = cv2.imread(str(folder / IDS.format(index)), cv2.IMREAD_UNCHANGED)
    try:
        truth = json.loads((folder / TRUTH.format(index)).read_text())
        things = tuple(Thing(**thing) for thing in truth["things"])
        seed = int(truth["seed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, index) from error
    if bgr is None or ids is None or bgr.shape[:2] != ids.shape:
        raise _damaged(folder, index)
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    return SetView(rgb, ids, things, seed)


def _damaged(folder: Path, index: int) -> WorldError:
    return WorldError(f"the files of view {index} in {folder} are damaged; delete the folder")
