"""Pictures of which only the names of what they show are known: presence can be fitted on them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from clip_surgery_ros.evaluation.annotated import DatasetError, read_text
from clip_surgery_ros.evaluation.examples import Example, sample_absent
from clip_surgery_ros.pictures.files import read_picture_file


def named_examples(file: Path, count: int) -> Iterator[Example]:
    """Return the first pictures of a JSON object of picture and list of names.

    ``{"shelf/1.jpg": ["mug", "plate"], "shelf/2.jpg": []}``; paths are relative to the file. The
    names of other pictures are absent, so a picture must name whatever it shows of all of them.
    The file is checked at once, each picture when the iterator reaches it.

    :raises DatasetError: when the file has another form.
    :raises ImageError: when a picture cannot be read.
    """
    try:
        named = _checked(json.loads(read_text(file)))
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{file} is no list of names ({error}); it needs an object such as "
            '{"1.jpg": ["mug", "plate"], "2.jpg": []}'
        ) from error
    names = sorted({name for each in named.values() for name in each})
    if not names:
        raise DatasetError(f"{file} names nothing in any picture")
    return (
        _example(file.parent / picture, present, names, seed)
        for seed, (picture, present) in enumerate([*named.items()][:count])
    )


def _checked(values: Any) -> dict[str, list[str]]:
    if not isinstance(values, dict):
        raise ValueError("it is not an object")
    for picture, names in values.items():
        is_list = isinstance(names, list)
        if not (is_list and all(isinstance(name, str) and name.strip() for name in names)):
            raise ValueError(f"{picture} has {names!r} instead of a list of names")
    return values


def _example(path: Path, present: list[str], names: list[str], seed: int) -> Example:
    image = read_picture_file(path).upright()
    absent = sample_absent(names, present, seed)
    nothing_ignored = np.zeros(image.shape[:2], np.bool_)
    return Example(image, (), (), tuple(dict.fromkeys(present)), absent, nothing_ignored)
