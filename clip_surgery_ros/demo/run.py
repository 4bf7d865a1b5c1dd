"""The demo's command line: ``./demo``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.demo.live import serve
from clip_surgery_ros.demo.show import QUERY, show
from clip_surgery_ros.parameters.arguments import whole_number
from clip_surgery_ros.pictures.summary import DEMO_NOTE


def main(arguments: Sequence[str] | None = None) -> int:
    """Show a camera, the node and a query at work; pictures of the results go into a folder."""
    parser = argparse.ArgumentParser(prog="./demo", description=main.__doc__)
    parser.add_argument(
        "--scene",
        type=whole_number(0),
        metavar="SEED",
        help="render another table (default: the recorded one)",
    )
    parser.add_argument("--image", type=Path, help="show a picture file instead")
    parser.add_argument(
        "--query",
        help=f"labels separated by , or ; (default: '{QUERY}'; of another table, what is there)",
    )
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="folder to fill")
    parser.add_argument(
        "--web", action="store_true", help="watch and ask in a browser instead, until Ctrl-C"
    )
    parser.add_argument("--port", type=whole_number(0), help="of --web (default: 8350)")
    options = parser.parse_args(arguments)
    # Nothing of the demo belongs on the network, unless the user has said otherwise.
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if options.image:
        print(DEMO_NOTE)
    try:
        if options.web:
            serve(options.scene, options.image, options.query, options.output, options.port)
            return 0
        found = show(options.scene, options.image, options.query, options.output)
    except ClipSurgeryError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    print(f"\n{found} objects found; pictures and logs are in {options.output}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
