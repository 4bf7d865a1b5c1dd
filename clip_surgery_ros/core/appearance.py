"""What a segment looks like: the image's tokens averaged under its mask.

They are computed already, and tell an object from others of its label over time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.core.types import Segment


def with_appearance(
    segments: Sequence[Segment], tokens: Tensor, grid_hw: tuple[int, int], size_hw: tuple[int, int]
) -> tuple[Segment, ...]:
    """Return the segments with their appearance.

    :param tokens: (1, 1 + N, C) of the image, with surgery; token 0 is CLS.
    :param size_hw: height and width of the image that the masks are of.
    """
    if not segments:
        return ()
    shares = np.stack([cell_shares(segment, grid_hw, size_hw) for segment in segments])
    weights = torch.from_numpy(shares).to(tokens.device, tokens.dtype)
    means = F.normalize((weights @ tokens[0, 1:]).float(), dim=-1).cpu().numpy()
    return tuple(
        replace(segment, appearance=mean) for segment, mean in zip(segments, means, strict=True)
    )


def cell_shares(
    segment: Segment, grid_hw: tuple[int, int], size_hw: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the share of a mask's pixels in each cell of the token grid, (N,); their sum is 1."""
    rows, columns = np.nonzero(segment.mask)
    (height, width), (grid_height, grid_width) = size_hw, grid_hw
    cell_rows = (rows + segment.box.y) * grid_height // height
    cells = cell_rows * grid_width + (columns + segment.box.x) * grid_width // width
    counts = np.bincount(cells, minlength=grid_height * grid_width)
    return (counts / max(1, len(rows))).astype(np.float32)
