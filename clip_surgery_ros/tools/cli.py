"""``clip_surgery SUBCOMMAND``: the command line; no ROS needs to run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from types import ModuleType

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.tools import (
    benchmark,
    calibrate,
    compare,
    evaluate,
    segment,
    train_demo,
    weights,
)

SUBCOMMANDS: tuple[ModuleType, ...] = (
    *(segment, compare, evaluate, calibrate, benchmark, weights, train_demo),
)
"""Each has ``NAME``, a docstring, ``add_arguments(parser)`` and ``run(arguments) -> int``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; what goes wrong is one sentence and exit status 2."""
    parser = argparse.ArgumentParser(
        prog="clip_surgery",
        description="Find things by name: CLIP Surgery heatmaps, SAM masks, no labels.",
    )
    subparsers = parser.add_subparsers(dest="subcommand", required=True)
    for module in SUBCOMMANDS:
        about = (module.__doc__ or "").strip().splitlines()[0]
        sub = subparsers.add_parser(module.NAME, help=about, description=about)
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    parsed = parser.parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except (ClipSurgeryError, OSError) as error:  # OSError: files and folders that cannot be used
        print(f"clip_surgery: {error}", file=sys.stderr)
        return 2


def subcommand(name: str) -> int:
    """Run one subcommand as ``ros2 run clip_surgery_ros NAME`` does, with the process's arguments.

    ROS's own arguments (``--ros-args ...``) are not for these and are left out.
    """
    given = sys.argv[1:]
    if "--ros-args" in given:
        given = given[: given.index("--ros-args")]
    return main([name, *given])


if __name__ == "__main__":
    sys.exit(main())
