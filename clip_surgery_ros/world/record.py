"""Records the orbit that ships with the package: ``python -m clip_surgery_ros.world.record OUT``.

Frames follow from a seed. Run it again when objects or renderer change, with
``clip_surgery_ros/world/assets/orbit`` as ``OUT``; a test compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.core.files import write_together
from clip_surgery_ros.core.image_files import encode_image
from clip_surgery_ros.world.frame import Frame
from clip_surgery_ros.world.recorded import COLOUR, DEPTH, IDS, TRUTH, UNIT, object_entry
from clip_surgery_ros.world.scene import SceneStyle, random_object, scene_of
from clip_surgery_ros.world.seeds import SPLITS
from clip_surgery_ros.world.sequences import CLEAR, Recording, orbit_of

SEED = SPLITS["held_out"].start + 4035
OBJECTS = (
    ("mug", "red", "glossy"),
    ("mug", "blue", "glossy"),
    ("bowl", "red", "matte"),
    ("banana", "yellow", ""),
    ("apple", "green", ""),
    ("apple", "green", ""),
    ("screwdriver", "orange", "glossy"),
    ("hammer", "", ""),
    ("teapot", "turquoise", "glossy"),
    ("toy car", "yellow", "glossy"),
    ("flashlight", "gray", "metallic"),
    ("scissors", "purple", "matte"),
)
"""Name, colour and finish of what is on the table."""
STYLE = SceneStyle(reach=0.21, gap=0.012, lying=0.0, on_others=0.0, clear=CLEAR)
FRAMES, RATE = 24, 2.0
"""Number of frames, and frames per second."""
DISTANCE = 0.85
"""Metres from camera to the objects' middle."""
JPEG_QUALITY = 85


def recording() -> Recording:
    """Return the scene and the camera's path.

    :raises WorldError: a package is missing.
    """
    rng = np.random.default_rng([SEED, 0])
    items = [random_object(rng, "held_out", *words) for words in OBJECTS]
    return orbit_of(scene_of(SEED, items, STYLE), duration=FRAMES / RATE, distance=DISTANCE)


def depth_steps(metres: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return depth in millimetres, 0 where there is none or it is beyond 65 m."""
    steps = np.round(metres / UNIT)
    return np.where(steps < 2**16, steps, 0).astype(np.uint16)


def write_frame(folder: Path, index: int, frame: Frame) -> dict[str, Any]:
    """Write the files of a frame, and return its entry in the truth."""
    best = [cv2.IMWRITE_PNG_COMPRESSION, 9]
    files: dict[str, tuple[NDArray[Any], list[int]]] = {
        COLOUR: (
            frame.rgb,
            [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1],
        ),
        DEPTH: (depth_steps(frame.sensor_depth), best),
        IDS: (frame.ids.astype(np.uint8), best),
    }
    for name, (image, settings) in files.items():
        path = folder / name.format(index)
        path.write_bytes(encode_image(path.suffix, image, settings))
    return {
        "stamp": frame.stamp,
        "camera_to_world": frame.camera.pose.tolist(),
        "seen": {
            str(truth.instance): [truth.pixels, round(truth.visible, 4)] for truth in frame.objects
        },
    }


def record(folder: Path) -> None:
    """Render and write the orbit.

    :raises WorldError: a package is missing.
    """
    from tqdm import tqdm

    source = recording()
    entries, objects = [], []
    with write_together(folder) as unfinished:
        for index, frame in enumerate(tqdm(source.frames(RATE), total=FRAMES, disable=None)):
            entries.append(write_frame(unfinished, index, frame))
            objects = [object_entry(truth) for truth in frame.objects]
        camera = source.camera
        truth = {
            "seed": source.scene.seed,
            "rate": RATE,
            "width": camera.width,
            "height": camera.height,
            "focal": camera.focal,
            "depth_unit": UNIT,
            "objects": objects,
            "frames": entries,
        }
        (unfinished / TRUTH).write_text(json.dumps(truth) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Record into a folder; the exit status is 2 if the arguments or the packages are wrong."""
    if len(arguments) != 1:
        print("usage: python -m clip_surgery_ros.world.record OUT", file=sys.stderr)
        return 2
    try:
        record(Path(arguments[0]))
    except WorldError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
