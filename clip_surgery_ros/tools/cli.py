"""``clip_surgery SUBCOMMAND``: the command line; no ROS needs to run.

Only the subcommand asked for is imported, and what a subcommand imports at its top needs no
network: help and mistakes in the command line are answered at once.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NoReturn

from clip_surgery_ros.arithmetic.openmp import wait_sparingly
from clip_surgery_ros.core.errors import ClipSurgeryError

SUBCOMMANDS: Mapping[str, str] = {
    "segment": "Find things by name in a picture file, and write a picture of what was found.",
    "ask": "Ask a running node for things by name, and print its answer once.",
    "compare": "Draw what CLIP and CLIP Surgery, by each of its attentions, make of a picture.",
    "evaluate": "Compare recipes on generated scenes, or on a folder of COCO or PASCAL VOC.",
    "calibrate": "Propose thresholds of raw similarity for your own pictures, as parameters.",
    "benchmark": "Measure what a frame costs beside the same work with the packages as they come.",
    "weights": "Published networks: list them, fetch one, verify what is there, tell where it is.",
    "train-demo": "Train the demo's networks from scratch, fit what ranks masks, or measure them.",
}
"""What each does. Its module in this package has ``add_arguments(parser)``, which imports nothing
heavy, and ``run(arguments) -> int``."""
WRONG, INTERRUPTED = 2, 130
"""Exit status for what the user can put right, and after Ctrl-C, as shells have it."""


class Parser(argparse.ArgumentParser):
    """Says in one sentence what is wrong with a command line, without the whole usage."""

    def error(self, message: str) -> NoReturn:
        """Exit status 2."""
        said = re.sub("^argument ([^:]+): is ", r"\1 is ", _in_a_line(message))
        self.exit(WRONG, f"{self.prog}: {said}; `{self.prog} --help` tells what there is\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; what goes wrong is one sentence and exit status 2.

    :param arguments: of the command line; the process's own by default, which Ctrl-C then ends.
    """
    wait_sparingly()  # before a subcommand imports torch
    status = _status(sys.argv[1:] if arguments is None else arguments)
    if arguments is None and status == INTERRUPTED:
        # Python itself would end by the signal where it came amid code that was a text, as
        # dataclasses run it, and only after torch's seconds of tidying up.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(status)
    return status


def _status(arguments: Sequence[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names that a terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        parsed = _parse(arguments)
        status = int(parsed.run(parsed))
        sys.stdout.flush()
        return status
    except SystemExit as ended:  # as argparse ends, after help and after a mistake
        return int(ended.code or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough, as `head` has
        _leave_stdout()
        return 0
    except ClipSurgeryError as error:
        return _complain(str(error))
    except OSError as error:  # files and folders that cannot be used
        _leave_stdout()
        return _complain(_in_words(error))
    except MemoryError as error:
        return _complain(f"there is not enough memory: {error}".removesuffix(": "))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Options of the subcommand asked for; of the others the names are known."""
    parser = Parser(
        prog="clip_surgery",
        description="Find things by name: CLIP Surgery heatmaps, SAM masks, no labels.",
    )
    subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    for name, about in SUBCOMMANDS.items():
        sub = subparsers.add_parser(name, help=about, description=about)
        if name in arguments[:1]:
            module = import_module(f"clip_surgery_ros.tools.{name.replace('-', '_')}")
            module.add_arguments(sub)
            sub.set_defaults(run=module.run)
    return parser.parse_args(arguments)


def _complain(sentence: str) -> int:
    print(f"clip_surgery: {_in_a_line(sentence)}", file=sys.stderr)
    return WRONG


def _in_a_line(sentence: str) -> str:
    """Names of files and queries may have line breaks."""
    return " ".join(sentence.splitlines())


def _in_words(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _leave_stdout() -> None:
    """Let Python's own last flush go nowhere, where writing has failed already."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def subcommand(name: str) -> int:
    """Run one subcommand as ``ros2 run clip_surgery_ros NAME`` does, with the process's arguments.

    ROS's own are not for these and are left out.
    """
    sys.argv[1:] = [name, *without_ros_arguments(sys.argv[1:])]
    return main()


def without_ros_arguments(given: Sequence[str]) -> list[str]:
    """What is left without ``--ros-args ...``, which goes to ``--`` or to the end."""
    if "--ros-args" not in given:
        return [*given]
    start = given.index("--ros-args")
    end = given.index("--", start) if "--" in given[start:] else len(given)
    return [*given[:start], *given[end + 1 :]]


if __name__ == "__main__":
    sys.exit(main())
