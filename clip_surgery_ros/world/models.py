"""Users' own objects: which models a folder holds, and what they are called."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.world.catalogue import Kind, Part, name_number
from clip_surgery_ros.world.model_files import ModelError, read_model
from clip_surgery_ros.world.world_object import WorldObject

TABLE = "objects.json"
EVERY = "*"
"""The entry of ``objects.json`` for all models that do not say otherwise."""
PATTERNS = (
    "google_16k/textured.obj",  # YCB
    "textured.obj",
    "meshes/model.obj",  # Google Scanned Objects
    "model.glb",
    "model.obj",
    "*.glb",
    "*.obj",
)
"""Where a folder's model is looked for; the first that is there is taken."""
SUFFIXES = (".glb", ".obj")
NUMBER = re.compile(r"^\d+(-[a-z])?[_ ]")
"""The number before a name in YCB: 025_mug, 065-a_cups."""
AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Words:
    """What ``objects.json`` may say of a model.

    :param name: empty: that of the folder.
    :param synonyms: other names; they are written into the truth.
    :param colour: a word for it; empty for none.
    :param up: axis that points up, ``x``, ``y`` or ``z``; empty: y of GLB, z of OBJ.
    :param scale: metres of one unit of the file.
    :param symmetric: it looks the same from all sides, so that its yaw means nothing.
    """

    name: str = ""
    synonyms: tuple[str, ...] = ()
    colour: str = ""
    up: str = ""
    scale: float = 1.0
    symmetric: bool = False


@dataclass(frozen=True)
class Model:
    """An object from a file, standing on z = 0 and centred in x and y.

    :param words: complete: with a name.
    """

    file: Path
    words: Words
    parts: tuple[Part, ...]

    def item(self) -> WorldObject:
        """Return it as an object that is not yet placed: it stands, and nothing rests on it."""
        kind = Kind(self.words.name, _not_built, symmetric=self.words.symmetric)
        return WorldObject(
            self.words.name, self.words.colour, "", self.parts, np.eye(4), own_kind=kind
        )


def _not_built(_: np.random.Generator) -> Any:
    """Stand in for a builder: models come from files."""
    raise WorldError("a model from a file is not built from code")


def plain_name(name: str) -> str:
    """Return the name of an object from that of its folder or file.

    >>> plain_name("025_mug"), plain_name("Ecoforms_Plant_Pot"), plain_name("065-a_cups")
    ('mug', 'ecoforms plant pot', 'cups')
    """
    return NUMBER.sub("", name).replace("_", " ").strip().lower() or name


def find_models(folder: Path) -> dict[str, Path]:
    """Return the files of models by the names of their folders, or of themselves, sorted.

    :raises WorldError: there is no folder, or it holds no model.
    """
    if not folder.is_dir():
        raise WorldError(f"{folder} is not a folder of models")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            matches = (match for pattern in PATTERNS for match in sorted(path.glob(pattern)))
            file = next((match for match in matches if match.is_file()), None)
            if file:
                found[path.name] = file
        elif path.suffix.lower() in SUFFIXES:
            found[path.stem] = path
    if not found:
        raise WorldError(
            f"{folder} holds no model: it needs NAME/model.glb, NAME/textured.obj, "
            "NAME/google_16k/textured.obj, NAME/meshes/model.obj or NAME.glb"
        )
    return found


def read_words(folder: Path, names: Sequence[str]) -> dict[str, Words]:
    """Return what ``objects.json`` says, or the defaults, for each model's folder or file name.

    :raises WorldError: it cannot be read, or an entry is wrong or of no model.
    """
    path = folder / TABLE
    try:
        table = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise WorldError(f"{path} cannot be read: {error}") from error
    if not isinstance(table, dict):
        raise WorldError(f"{path} must be an object: name of a model's folder to what is said")
    unknown = sorted(set(table) - {*names, EVERY})
    if unknown:
        raise WorldError(f"{path} is about {unknown[0]}, but no model has this name")
    common = _words(path, EVERY, table.get(EVERY, {}), Words())
    result = {name: _words(path, name, table.get(name, {}), common) for name in names}
    return {
        name: words if words.name else replace(words, name=plain_name(name))
        for name, words in result.items()
    }


def _words(path: Path, model: str, entry: Any, base: Words) -> Words:
    """Return an entry of the table over those for all models."""
    if not isinstance(entry, dict):
        raise WorldError(f"{path}: what is said of {model} must be an object")
    known = [field.name for field in fields(Words)]
    for key, value in entry.items():
        if key not in known:
            raise WorldError(f"{path}: {model} has {key}; there are {', '.join(known)}")
        if not _is_right(key, value):
            raise WorldError(f"{path}: {key} of {model} is {value!r}, but must be {RULES[key]}")
    values: Mapping[str, Any] = entry
    if "synonyms" in entry:
        values = {**entry, "synonyms": tuple(entry["synonyms"])}
    return replace(base, **values)


RULES = {
    "name": "a text that is not empty",
    "synonyms": "a list of texts",
    "colour": "a text",
    "up": f"one of {', '.join(AXES)}",
    "scale": "a number above 0, the metres of one unit",
    "symmetric": "true or false",
}
"""What each key must be."""


def _is_right(key: str, value: Any) -> bool:
    if key == "name":
        return isinstance(value, str) and bool(value.strip())
    if key == "colour":
        return isinstance(value, str)
    if key == "synonyms":
        return isinstance(value, list) and all(isinstance(word, str) for word in value)
    if key == "up":
        return value in AXES
    if key == "symmetric":
        return isinstance(value, bool)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < value < float("inf")


def load_models(folder: Path) -> tuple[list[Model], list[str]]:
    """Read all models of a folder.

    :returns: those that can be used, and a sentence about each that cannot.
    :raises WorldError: the folder or its ``objects.json`` is wrong, or trimesh is missing.
    """
    files = find_models(folder)
    words = read_words(folder, list(files))
    models, refused = [], []
    for name, file in files.items():
        said = words[name]
        up = said.up or ("y" if file.suffix.lower() == ".glb" else "z")
        try:
            models.append(Model(file, said, read_model(file, up, said.scale)))
        except ModelError as error:
            refused.append(str(error))
    return models, refused


def choose_items(models: Sequence[Model], seed: int, count: tuple[int, int]) -> list[WorldObject]:
    """Return objects for a scene, drawn from models; in a fifth of the scenes some are alike."""
    rng = np.random.default_rng([seed, name_number("models")])
    wanted = int(rng.integers(count[0], count[1] + 1))
    again = bool(rng.random() < 0.2)
    picks = rng.choice(len(models), wanted if again else min(wanted, len(models)), replace=again)
    return [models[int(k)].item() for k in picks]
