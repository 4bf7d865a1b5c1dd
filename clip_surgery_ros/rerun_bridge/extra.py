"""Whether the Rerun SDK is installed. This module does not import it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from clip_surgery_ros.core.errors import ConfigError

SUFFIX = ".rrd"
"""Of Rerun's files."""


def check_rerun() -> None:
    """Refuse to go on without the Rerun SDK.

    :raises ConfigError: it is not installed.
    """
    if importlib.util.find_spec("rerun") is None:
        raise ConfigError(
            "Rerun needs rerun-sdk, which needs NumPy 2: pip install 'clip_surgery_ros[rerun]'"
        )


def check_rrd_name(path: Path) -> None:
    """Refuse the name of a file that the viewer would not open.

    :raises ConfigError: it does not end with ``.rrd``.

    >>> check_rrd_name(Path("table.rrd"))
    """
    if path.suffix != SUFFIX:
        raise ConfigError(f"{path} must end with {SUFFIX}, by which the viewer knows its files")
