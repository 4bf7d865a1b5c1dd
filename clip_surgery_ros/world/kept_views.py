"""Keeps rendered views on disk, as rendering one takes 0.3 to 0.8 s."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from operator import methodcaller
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.core.files import write_together
from clip_surgery_ros.core.image_files import encode_image
from clip_surgery_ros.world.asking import Thing
from clip_surgery_ros.world.sets import SETS, SIZE, SetView

VERSION = 2
"""Of all that makes a view: objects, scenes, renderer, and the sets. Raise it when one changes."""
EXACT, SMALL = "png", "jpg"
"""Endings of pictures: without loss, for measuring; and a tenth as large, for training."""
JPEG_QUALITY = 93
Picture = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""(H, W, 3) RGB, and (H, W) instance seen, 0 for the room."""


class Renderable(Protocol):
    """What one call renders and keeps; it is sent to other processes."""

    def render(self) -> None:
        """Render what is not there yet.

        :raises WorldError: it cannot be rendered.
        """


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
        if not is_kept(self.own_folder, self.index):
            seen = SETS[self.set_name].view(self.split, self.index, self.size)
            truth = {"seed": seen.seed, "things": [asdict(thing) for thing in seen.things]}
            write_view(self.own_folder, self.index, (seen.rgb, seen.ids), truth)

    def read(self) -> SetView:
        """Return the view, rendered if it is not there.

        :raises WorldError: it cannot be rendered, or its files are damaged.
        """
        self.render()
        (rgb, ids), truth = read_view(self.own_folder, self.index)
        try:
            things = tuple(Thing(**thing) for thing in truth["things"])
            return SetView(rgb, ids, things, int(truth["seed"]))
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(self.own_folder, self.index) from error


def render_all(items: Sequence[Renderable], processes: int) -> Iterator[None]:
    """Render in several processes, and yield after each item, so that progress can be shown."""
    render = methodcaller("render")
    if processes == 1:
        yield from map(render, items)
        return
    spawn = get_context("spawn")  # forked processes would share locks of threads that they lack
    with ProcessPoolExecutor(processes, spawn) as pool:
        yield from pool.map(render, items)


def write_view(
    folder: Path, index: int, picture: Picture, truth: dict[str, Any], ending: str = EXACT
) -> None:
    """Write a view, completely or not at all.

    :param truth: written as JSON.
    :param ending: :data:`EXACT` or :data:`SMALL`.
    """
    rgb, ids = picture
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if ending == SMALL else []
    with write_together(folder) as unfinished:
        content = encode_image(f".{ending}", rgb, quality)
        _picture_file(unfinished, index, ending).write_bytes(content)
        _ids_file(unfinished, index).write_bytes(encode_image(".png", ids))
        _truth_file(unfinished, index).write_text(json.dumps(truth))


def is_kept(folder: Path, index: int, ending: str = EXACT) -> bool:
    """Return whether all files of a view are there."""
    picture = _picture_file(folder, index, ending)
    files = (picture, _ids_file(folder, index), _truth_file(folder, index))
    return all(file.is_file() for file in files)


def read_view(folder: Path, index: int, ending: str = EXACT) -> tuple[Picture, dict[str, Any]]:
    """Return the picture and the truth of a view.

    :raises WorldError: a file is missing or damaged.
    """
    bgr = cv2.imread(str(_picture_file(folder, index, ending)))
    ids = cv2.imread(str(_ids_file(folder, index)), cv2.IMREAD_UNCHANGED)
    try:
        truth = json.loads(_truth_file(folder, index).read_text())
    except (OSError, ValueError) as error:
        raise damaged(folder, index) from error
    if bgr is None or ids is None or bgr.shape[:2] != ids.shape:
        raise damaged(folder, index)
    return (np.ascontiguousarray(bgr[..., ::-1]), ids), truth


def damaged(folder: Path, index: int) -> WorldError:
    """Return the error of a view that cannot be read."""
    return WorldError(
        f"the files of view {index} in {folder} are missing or damaged; delete the folder"
    )


def _picture_file(folder: Path, index: int, ending: str) -> Path:
    return folder / f"{index:05d}.{ending}"


def _ids_file(folder: Path, index: int) -> Path:
    return folder / f"{index:05d}_ids.png"


def _truth_file(folder: Path, index: int) -> Path:
    return folder / f"{index:05d}.json"
