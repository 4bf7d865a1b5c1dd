"""Imports open_clip and torchvision without what most networks never use of them.

open_clip imports transformers and timm where they are installed, for towers that are theirs, and
torchvision imports torch's compiler, to ask it one question. The three took half the processor
time of the node's start, and 1,200 modules.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_ADAPTERS = {"transformers": "open_clip.hf_model", "timm": "open_clip.timm_model"}
"""Packages that open_clip does without, and its module that would use each."""
_COMPILER = "torch._dynamo.utils"
_left_out: list[str] = []


def import_slim() -> None:
    """Import both, unless they are imported already."""
    if "torchvision" not in sys.modules and _COMPILER not in sys.modules:
        with _in_place_of(_COMPILER, _asks_later()):
            importlib.import_module("torchvision")
    if "open_clip" not in sys.modules:
        _left_out.extend(name for name in _ADAPTERS if name not in sys.modules)
        with _missing(_left_out):
            importlib.import_module("open_clip")


def import_adapters() -> None:
    """Let open_clip have what was left out; for towers that need it."""
    while _left_out:
        # In place: classes that were imported from the module see what it finds now.
        importlib.reload(sys.modules[_ADAPTERS[_left_out.pop()]])


def _asks_later() -> ModuleType:
    """The one function that torchvision imports of torch's compiler; imports it when called."""
    module = ModuleType(_COMPILER)

    def is_compile_supported(device_type: Any) -> Any:
        return importlib.import_module(_COMPILER).is_compile_supported(device_type)

    vars(module)["is_compile_supported"] = is_compile_supported
    return module


@contextmanager
def _in_place_of(name: str, module: ModuleType | None) -> Iterator[None]:
    """Another module of this name to import, for a while; None for none at all."""
    sys.modules[name] = module  # type: ignore[assignment]  # None is documented
    try:
        yield
    finally:
        del sys.modules[name]


@contextmanager
def _missing(names: list[str]) -> Iterator[None]:
    """These packages cannot be imported for a while."""
    if not names:
        yield
        return
    with _in_place_of(names[0], None), _missing(names[1:]):
        yield
