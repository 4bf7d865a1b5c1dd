"""The command line of the camera in the rendered world."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clip_surgery_ros.core.errors import ClipSurgeryError, ConfigError
from clip_surgery_ros.demo.views import MOTIONS
from clip_surgery_ros.parameters.arguments import Parser, nonempty_path, whole_number
from clip_surgery_ros.ros.camera_messages import (
    COLOUR_ENCODINGS,
    DEPTH_ENCODINGS,
    check_size,
)
from clip_surgery_ros.world.record import FRAMES
from clip_surgery_ros.world.seeds import SPLITS

SPLIT, MOTION, SENSOR, SIZE = "held_out", "orbit", "realistic", (640, 480)
"""Of the recorded orbit, and the defaults of other scenes."""
SIDES = (16, 4096)
"""Least and greatest width and height of views, pixels."""
RATES_HZ = (0.01, 240.0)
MOST_BYTES = 2**31
"""Memory that views may take."""
BYTES_A_PIXEL = 9
"""Of a view: colour, depth, instances."""
ABOUT = f"""\
An RGB-D camera in the rendered world, to try nodes against. It publishes what the driver of a
camera publishes, and the truth beside it, all at one stamp.

Without options of the scene it shows a recorded orbit of {FRAMES} views, which needs no other
package. Other scenes, motions, sizes and sensors are rendered, a second or two for each view of
640x480, while those that are made are published: the camera waits at each new view, and then
shows all of them over and over.
"""
TOPICS = """\
topics:
  image_raw, image_raw/compressed   colour, as --encoding and --transport say
  camera_info, depth/camera_info    K, no distortion
  depth/image_raw                   depth of the same pixels, as --depth says
  /tf, /tf_static                   world -> demo_camera_link -> demo_camera_optical_frame
  truth                             JSON in a std_msgs/String: names, colours, poses, boxes
  truth/instances                   mono16: which object each pixel shows; 0 is the room

--ros-args -r __ns:=/wrist puts them below /wrist; -r image_raw:=/camera/color/image_raw renames
one. docs/world.md describes them.
"""


@dataclass(frozen=True)
class CameraOptions:
    """What a camera shows and sends.

    :param scene: number of the scene in its split; None: the table of the recorded orbit.
    :param split: key of ``seeds.SPLITS``.
    :param motion: key of ``views.MOTIONS``.
    :param views: how many.
    :param size: width and height, pixels.
    :param sensor: ``exact`` or ``realistic`` depth.
    :param image: show this picture instead; None shows the scene.
    :param rate_hz: images per second.
    :param hold_s: how long each view is shown, seconds; 0 shows each in one image.
    :param encoding: of colour, in ``camera_messages.COLOUR_ENCODINGS``.
    :param depth: in ``camera_messages.DEPTH_ENCODINGS``, or ``none``.
    :param transport: of colour: ``raw``, ``compressed`` or ``both``.
    :param images: send so many once somebody reads them; 0 sends always.
    :param ahead: render all views before the first image.
    """

    scene: int | None
    split: str
    motion: str
    views: int
    size: tuple[int, int]
    sensor: str
    image: Path | None
    rate_hz: float
    hold_s: float
    encoding: str
    depth: str
    transport: str
    images: int
    ahead: bool

    @property
    def is_recorded(self) -> bool:
        """Whether the recorded orbit has what is asked for, so that nothing is rendered."""
        asked = (self.scene, self.motion, self.sensor, self.size)
        return asked == (None, MOTION, SENSOR, SIZE) and self.views <= FRAMES

    def check_size(self, width: int, height: int) -> None:
        """Refuse a size that the encoding cannot have.

        :raises ImageError: it is in cells of pixels, of which the size is no multiple.
        """
        if self.transport != "compressed":
            check_size(self.encoding, width, height)


def parse_options(arguments: Sequence[str]) -> CameraOptions:
    """Return the options of a command line, which is without ROS's own arguments.

    What is wrong with it ends the program with one sentence and status 2.
    """
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    if given["image"] is not None:
        _check_picture_alone(parser, given)
    if given["views"] is None:
        # The default of a motion, unless the recorded orbit does.
        is_recorded = CameraOptions(**{**given, "views": FRAMES}).is_recorded
        given["views"] = FRAMES if is_recorded else MOTIONS[given["motion"]].views
    options = CameraOptions(**given)
    try:
        _check_scene(options)
    except ClipSurgeryError as error:
        parser.error(str(error))
    return options


def _check_scene(options: CameraOptions) -> None:
    """Refuse scenes that are not there, and views that cannot be made.

    :raises ClipSurgeryError: with what is wrong.
    """
    scenes = len(SPLITS[options.split])
    if options.scene is None and options.split != SPLIT:
        raise ConfigError("--split is of a --scene; give its number")
    if options.scene is not None and options.scene >= scenes:
        raise ConfigError(
            f"--scene is {options.scene}, but the scenes of {options.split} are 0 to {scenes - 1}"
        )
    width, height = options.size
    needed = options.views * width * height * BYTES_A_PIXEL
    if needed > MOST_BYTES:
        raise ConfigError(
            f"{options.views} views of {width}x{height} take {needed / 2**30:.1f} GiB of memory, "
            f"but at most {MOST_BYTES / 2**30:.0f} are allowed; take fewer --views or a smaller "
            "--size"
        )
    if options.image is None:
        options.check_size(width, height)


def _check_picture_alone(parser: Parser, given: dict[str, object]) -> None:
    """Refuse options about scenes beside a picture."""
    for name in ("scene", "split", "motion", "views", "size", "sensor", "depth"):
        if given[name] != parser.get_default(name):
            parser.error(
                f"--image is a picture, of which only colour is known; leave --{name} out"
            )


def _parser() -> Parser:
    made = Parser(
        prog="demo_camera",
        description=ABOUT,
        epilog=TOPICS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_scene_options(made.add_argument_group("what is seen"))
    _add_sending_options(made.add_argument_group("what is sent"))
    return made


def _add_scene_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--scene",
        type=whole_number(0),
        metavar="SEED",
        help="number of a random scene in its split (default: the table of the recorded orbit)",
    )
    add("--split", choices=tuple(SPLITS), default=SPLIT, help="of --scene (default: %(default)s)")
    motions = "; ".join(f"{name}: {one.summary}" for name, one in MOTIONS.items())
    add(
        "--motion",
        choices=tuple(MOTIONS),
        default=MOTION,
        help=f"{motions} (default: %(default)s)",
    )
    counts = ", ".join(f"{one.views} for {name}" for name, one in MOTIONS.items())
    add(
        "--views",
        type=whole_number(1),
        metavar="COUNT",
        help=f"how many along the motion, shown over and over (default: the {FRAMES} recorded "
        f"ones; of rendered ones {counts})",
    )
    add(
        "--size",
        type=_size,
        default=SIZE,
        metavar="WIDTHxHEIGHT",
        help="of the images, pixels (default: 640x480)",
    )
    add(
        "--sensor",
        choices=("exact", "realistic"),
        default=SENSOR,
        help="depth as it is, or with a stereo camera's noise, holes and flying pixels (default: "
        "%(default)s)",
    )
    add("--image", type=nonempty_path, metavar="FILE", help="show this picture: colour alone")
    add("--ahead", action="store_true", help="render all views before the first image")


def _add_sending_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--rate",
        dest="rate_hz",
        type=_number(*RATES_HZ),
        default=10.0,
        metavar="HZ",
        help="images per second (default: 10)",
    )
    group.add_argument(
        "--hold",
        dest="hold_s",
        type=_number(0, 3600),
        default=0.0,
        metavar="SECONDS",
        help="how long the camera stays at each view (default: one image)",
    )
    group.add_argument(
        "--encoding",
        choices=COLOUR_ENCODINGS,
        default="rgb8",
        metavar="NAME",
        help=f"of colour: {', '.join(COLOUR_ENCODINGS)} (default: %(default)s)",
    )
    group.add_argument(
        "--depth",
        choices=(*DEPTH_ENCODINGS, "none"),
        default="16UC1",
        help="millimetres, metres, or no depth (default: %(default)s)",
    )
    group.add_argument(
        "--transport",
        choices=("raw", "compressed", "both"),
        default="raw",
        help="of colour; compressed is JPEG (default: %(default)s)",
    )
    group.add_argument(
        "--images",
        type=whole_number(0),
        default=0,
        metavar="COUNT",
        help="send so many once somebody reads them, and then no more (default: always)",
    )


def _number(low: float, high: float) -> Callable[[str], float]:
    """Return a parser of numbers from ``low`` to ``high``."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"is {text}, but must be from {low} to {high}")
        return value

    return parse


def _size(text: str) -> tuple[int, int]:
    """Parse a width and a height, pixels."""
    sides = text.split("x")
    least, most = SIDES
    if len(sides) != 2 or not all(s.isdecimal() and least <= int(s[:9]) <= most for s in sides):
        raise argparse.ArgumentTypeError(
            f"is {text}, but must be WIDTHxHEIGHT, such as 640x480, with sides from {least} to "
            f"{most}"
        )
    return int(sides[0]), int(sides[1])
