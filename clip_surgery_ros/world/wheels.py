"""The optional packages of the rendered world, imported when they are first needed."""

from __future__ import annotations

import importlib
from typing import Any

from clip_surgery_ros.core.errors import WorldError

EXTRA = "pip install 'clip_surgery_ros[world]'"
"""The command that installs them."""


def _imported(package: str, module: str, purpose: str) -> Any:
    """Import a module of an optional package.

    :raises WorldError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise WorldError(
            f"the rendered world needs the package {package} ({purpose}), which cannot be "
            f"imported: {error}. Install it with: {EXTRA}. There are wheels for x86-64 Linux; "
            "embreex has none for ARM."
        ) from error


def manifold3d() -> Any:
    """Return the module ``manifold3d``, which builds shapes."""
    return _imported("manifold3d", "manifold3d", "shapes of objects")


def embreex(module: str) -> Any:
    """Return a module of ``embreex``, which intersects rays with triangles."""
    return _imported("embreex", f"embreex.{module}", "rays")


def trimesh() -> Any:
    """Return the module ``trimesh``, which parses users' models."""
    return _imported("trimesh", "trimesh", "models from files")
