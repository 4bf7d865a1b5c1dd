"""``clip_surgery SUBCOMMAND``: the command line. It needs no running ROS.

Only the requested subcommand is imported, and no subcommand imports torch, OpenCV or ROS at the
top of its module: help and errors in the command line are printed at once.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NoReturn

from clip_surgery_ros.arithmetic.openmp import limit_thread_spinning
from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.parameters.arguments import USER_ERROR, Parser, in_one_line

SUBCOMMANDS: Mapping[str, str] = {
    "segment": "Find things by name in a picture file, and write a picture of what was found.",
    "label": "Label the images of recorded bags by words: COCO annotations, pictures of masks.",
    "search": "Index recorded bags, and find the images that show a thing, by words.",
    "ask": "Ask a running node for things by name, and print its answer once.",
    "compare": "Draw the maps of plain CLIP and of CLIP Surgery with each of its attentions.",
    "evaluate": "Compare recipes on generated scenes, or on a folder of COCO or PASCAL VOC.",
    "calibrate": "Propose thresholds of raw similarity for your own pictures, as parameters.",
    "fit": "Fit presence and scores to your networks and pictures, and write a profile.",
    "benchmark": "Measure the time of a frame, beside the same work with the unmodified packages.",
    "world": "Render scenes with exact truth, of generated objects or of your textured models.",
    "weights": "Pretrained networks: list them, fetch them, verify files, print paths.",
    "train-demo": "Train the networks of the demo from scratch, measure and export them.",
}
"""What each subcommand does.

Its module in this package has ``add_arguments(parser)``, which imports nothing heavy, and
``run(arguments) -> int``. ``CMakeLists.txt`` lists the same names, for ``ros2 run``.
"""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as in shells."""


class _PrintVersion(argparse.Action):
    """The option ``--version``. It reads the version only when it is used."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"{parser.prog} {version('clip_surgery_ros')}")  # package.xml's, as installed
        parser.exit()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand. An error is reported in one sentence and gives exit status 2.

    :param arguments: the command line without the program's name; the process's own by default.
        In that case Ctrl-C ends the process here.
    :return: the exit status.
    """
    limit_thread_spinning()  # before a subcommand imports torch
    status = _status(sys.argv[1:] if arguments is None else arguments)
    if arguments is None and status == INTERRUPTED:
        # Without this, Python may end by the signal instead of with this status (when the signal
        # comes while exec() runs generated code, as of dataclasses), and torch would take seconds
        # to clean up.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(status)
    return status


def _status(arguments: Sequence[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names may have letters the terminal lacks
            stream.reconfigure(errors="backslashreplace")
    try:
        parsed = _parse(arguments)
        status = int(parsed.run(parsed))
        sys.stdout.flush()
        return status
    except SystemExit as ended:  # argparse's, after help and after an error
        return int(ended.code or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader stopped reading, as `head` does
        _discard_stdout()
        return 0
    except ClipSurgeryError as error:
        return _report_error(str(error))
    except OSError as error:  # files and folders that cannot be read or written
        _discard_stdout()
        return _report_error(_describe(error))
    except MemoryError as error:
        return _report_error(f"there is not enough memory: {error}".removesuffix(": "))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line. Only the module of the requested subcommand is imported."""
    parser = Parser(
        prog="clip_surgery",
        description="Find things by name: CLIP Surgery heatmaps, SAM masks, no labels.",
    )
    parser.add_argument("--version", action=_PrintVersion)
    subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    for name, about in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(name, help=about, description=about)
        if name in arguments[:1]:
            module = import_module(f"clip_surgery_ros.tools.{name.replace('-', '_')}")
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    return parser.parse_args(arguments)


def _report_error(sentence: str) -> int:
    print(f"clip_surgery: {in_one_line(sentence)}", file=sys.stderr)
    return USER_ERROR


def _describe(error: OSError) -> str:
    """Return the file's name, if there is one, and the system's reason."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _discard_stdout() -> None:
    """Send what is still buffered to the null device if it cannot be written.

    Python flushes once more when it exits and would report the error a second time.
    """
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def subcommand(name: str) -> int:
    """Run one subcommand for ``ros2 run clip_surgery_ros NAME``, with the process's arguments.

    Arguments for ROS are removed.
    """
    sys.argv[1:] = [name, *without_ros_arguments(sys.argv[1:])]
    return main()


def without_ros_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without ``--ros-args ...``, which extends to ``--`` or to the end.

    >>> without_ros_arguments(["list", "--ros-args", "-r", "__ns:=/robot"])
    ['list']
    """
    if "--ros-args" not in arguments:
        return [*arguments]
    start = arguments.index("--ros-args")
    end = arguments.index("--", start) if "--" in arguments[start:] else len(arguments)
    return [*arguments[:start], *arguments[end + 1 :]]


if __name__ == "__main__":
    sys.exit(main())
