"""Keeps the views of the sets on disk, as rendering one takes a third of a second."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
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


@dataclass(frozen=True)
class KeptView:
    """A view of a set and where it is kept.

    :param folder: of all kept views; those of another version are left alone.
    :param set_name: key of ``sets.SETS``.
    :param size: width and height, pixels.
    """

    folder: Path
    set_name: str
    split: str
    index: int
    size: tuple[int, int] = SIZE

    @property
    def own_folder(self) -> Path:
        """The folder of the set's views."""
        version, size = f"version_{VERSION}", f"{self.size[0]}x{self.size[1]}"
        return self.folder / version / size / self.split / self.set_name

    def render(self) -> None:
        """Render the view and keep it, unless it is there.

        :raises WorldError: it cannot be rendered.
        """
        files = (self.own_folder / name.format(self.index) for name in (PICTURE, IDS, TRUTH))
        if not all(file.is_file() for file in files):
            seen = SETS[self.set_name].view(self.split, self.index, self.size)
            _write(self.own_folder, self.index, seen)

    def read(self) -> SetView:
        """Return the view, rendered if it is not there.

        :raises WorldError: it cannot be rendered, or its files are damaged.
        """
        self.render()
        return _read(self.own_folder, self.index)


def render_all(views: Sequence[KeptView], processes: int) -> Iterator[None]:
    """Render views in several processes, and yield after each, so that progress can be shown."""
    if processes == 1:
        yield from map(KeptView.render, views)
        return
    spawn = get_context("spawn")  # forked processes would share locks of threads that they lack
    with ProcessPoolExecutor(processes, spawn) as pool:
        yield from pool.map(KeptView.render, views)


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
