"""Packages that only some networks need."""

from __future__ import annotations

import importlib
from types import ModuleType

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.weights.quietly import quietly


def optional(module: str, distribution: str) -> ModuleType:
    """Import a module.

    :param distribution: what to install for it.
    :raises ConfigError: when it is not there or does not work here.
    """
    try:
        with quietly():
            return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ConfigError(
            f"this network needs the Python package {package} ({error}); "
            f"`pip install {distribution}` has it"
        ) from error
