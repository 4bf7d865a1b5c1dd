"""Python packages that only some segmenters need."""

from __future__ import annotations

import importlib
from types import ModuleType

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.weights.state_dicts import ignore_warnings


def import_package(module: str, distribution: str) -> ModuleType:
    """Import a module of a package that may not be installed.

    :param distribution: what pip calls the package.
    :raises ConfigError: when the module cannot be imported, with how to install it.
    """
    try:
        with ignore_warnings():
            return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ConfigError(
            f"this network needs the Python package {package} ({error}); "
            f"`pip install {distribution}` has it"
        ) from error
