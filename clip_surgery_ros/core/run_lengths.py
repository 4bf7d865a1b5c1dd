"""Run lengths of masks, as COCO has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LARGEST_SHIFT = 60
"""Largest number of bits of a compressed run length; no picture has more pixels."""


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Return COCO's run lengths of a mask, (H, W): column by column, of 0 and 1 in turn.

    >>> run_lengths(np.array([[False, True], [True, True]]))
    [1, 3]
    """
    flat = mask.T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    ends = np.concatenate([[0], changes, [len(flat)]])
    runs = np.diff(ends).tolist()
    return [0, *runs] if flat[0] else runs


def compressed_runs(runs: Sequence[int]) -> str:
    """Return run lengths as COCO's string (pycocotools, ``rleToString``).

    Each character has five bits, the lowest first. From the fourth run on, a number is the
    difference to the run two before it.

    >>> compressed_runs([1, 3, 40, 2])
    '13X1O'
    """
    characters = []
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        continues = True
        while continues:
            bits = value & 0x1F
            value >>= 5
            continues = value != (-1 if bits & 0x10 else 0)
            characters.append(chr(48 + bits + (0x20 if continues else 0)))
    return "".join(characters)


def mask_of_runs(runs: Sequence[int], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the (H, W) mask of run lengths, whose sum is H x W.

    >>> mask_of_runs([1, 3], (2, 2)).tolist()
    [[False, True], [True, True]]
    """
    height, width = size_hw
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, np.array(runs, np.int64)).reshape(width, height).T


def decompressed_runs(text: str) -> list[int]:
    """Return the run lengths that a COCO string holds (pycocotools, ``rleFrString``).

    :raises ValueError: when it holds none.

    >>> decompressed_runs("13X1O")
    [1, 3, 40, 2]
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > LARGEST_SHIFT:
            raise ValueError(f"character {character!r} in compressed run lengths")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:  # the number continues
            continue
        if bits & 0x10:  # negative
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise ValueError("compressed run lengths that end within a number")
    return runs
