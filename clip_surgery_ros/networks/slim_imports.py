"""Imports open_clip and torchvision without packages that most networks do not need.

open_clip imports transformers and timm if they are installed, for towers that these packages
compute. torchvision imports torch's compiler for a single function. These three are 1,200 modules,
and their import took half the processor time of the node's start.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_ADAPTERS = {"transformers": "open_clip.hf_model", "timm": "open_clip.timm_model"}
"""Packages that open_clip can do without, and its module that uses each."""
_COMPILER = "torch._dynamo.utils"
_left_out: list[str] = []
"""Packages that :func:`import_slim` hid from open_clip."""


def import_slim() -> None:
    """Import open_clip and torchvision, unless they are imported already."""
    if "torchvision" not in sys.modules and _COMPILER not in sys.modules:
        with _replaced_module(_COMPILER, _lazy_compiler()):
            importlib.import_module("torchvision")
    if "open_clip" not in sys.modules:
        _left_out.extend(name for name in _ADAPTERS if name not in sys.modules)
        with _hidden_packages(_left_out):
            importlib.import_module("open_clip")


def import_adapters() -> None:
    """Import what was left out of open_clip, for towers that need it."""
    while _left_out:
        # A reload changes the module in place, so classes imported from it earlier use it too.
        importlib.reload(sys.modules[_ADAPTERS[_left_out.pop()]])


def _lazy_compiler() -> ModuleType:
    """Return a module with the function that torchvision needs; it imports torch's compiler."""
    module = ModuleType(_COMPILER)

    def is_compile_supported(device_type: Any) -> Any:
        return importlib.import_module(_COMPILER).is_compile_supported(device_type)

    vars(module)["is_compile_supported"] = is_compile_supported
    return module


@contextmanager
def _replaced_module(name: str, module: ModuleType | None) -> Iterator[None]:
    """Let an import of this name return a given module; with None it fails."""
    sys.modules[name] = module  # type: ignore[assignment]  # None is documented
    try:
        yield
    finally:
        del sys.modules[name]


@contextmanager
def _hidden_packages(names: list[str]) -> Iterator[None]:
    """Let imports of these packages fail."""
    if not names:
        yield
        return
    with _replaced_module(names[0], None), _hidden_packages(names[1:]):
        yield
