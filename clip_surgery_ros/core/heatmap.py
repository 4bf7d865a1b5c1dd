"""Similarity maps: feature surgery of tokens and texts, and maps in the size of the image.

Li et al., "A Closer Look at the Explainability of CLIP" (arXiv 2304.05653), section 3.4.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.core.errors import ConfigError

_FLAT = 1e-7
"""A map whose values span less than this is constant: float32's resolution of a cosine."""
_MIN_LENGTH = 1e-3
"""A text whose difference from the other texts is shorter than this equals them, except for
rounding. Synonyms differ by about 0.1."""


def feature_surgery(tokens: Tensor, text: Tensor, redundant: Tensor | None = None) -> Tensor:
    """Return the similarity of image tokens to texts, without what the texts have in common.

    With ``redundant``, ``S = F (Tx - r)^T``. Without it, the label-set form: with
    ``w = T softmax_T(2 F_cls Tx^T)``, the mean over texts is subtracted from each channel-wise
    product ``F_ic Tx_tc w_t`` before the sum over channels. This is linear in F, so that it is one
    matrix product ``S = F That^T`` with ``That_t = w_t Tx_t - mean_u(w_u Tx_u)``.

    :param tokens: (B, 1 + N, C) unit rows, token 0 is CLS.
    :param text: (T, C) unit rows.
    :param redundant: (1, C) or (C,) feature common to all texts: the empty string's ensemble.
    :returns: (B, 1 + N, T).
    :raises ConfigError: for one text without ``redundant``: the label-set form is 0 everywhere.

    >>> tokens = torch.tensor([[[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]]])  # CLS and 2 tokens
    >>> feature_surgery(tokens, text=torch.eye(2)).shape
    torch.Size([1, 3, 2])
    """
    if redundant is not None:
        return tokens @ (text - redundant.reshape(1, -1)).T
    return tokens @ _differences(tokens[:, 0], text).mT


def surgery_cosines(tokens: Tensor, text: Tensor) -> Tensor:
    """Return :func:`feature_surgery` of a label set as cosines: ``F That_t^T / |That_t|``.

    The weights ``w`` of the label-set form multiply each label's map by a factor that depends on
    the image and on the other labels, and that has no upper bound. Cosines are maps of the same
    shape (min-max, points and peaks are the same) that lie in -1 to 1, so that they can be
    compared with each other and with a threshold.

    Parameters and errors are those of :func:`feature_surgery`.

    :returns: (B, 1 + N, T) in [-1, 1]; 0 for a text that does not differ from the others.
    """
    directions = F.normalize(_differences(tokens[:, 0], text), dim=-1, eps=_MIN_LENGTH)
    return tokens @ directions.mT


def _differences(cls: Tensor, text: Tensor) -> Tensor:
    """(B, C) and (T, C) unit rows to (B, T, C) ``That``: how each text differs from the others."""
    if len(text) < 2:
        raise ConfigError(
            f"the label-set form needs at least 2 texts, got {len(text)}: give the empty "
            "string's feature as redundant, or add distractors"
        )
    weights = (2 * cls @ text.T).softmax(dim=-1) * len(text)  # (B, T)
    weighted = weights.unsqueeze(-1) * text  # (B, T, C)
    return weighted - weighted.mean(dim=1, keepdim=True)


def zero_shot_probabilities(cls: Tensor, text: Tensor) -> Tensor:
    """``softmax(100 F_cls Tx^T)``: (B, C) and (T, C) unit rows to (B, T) (Radford et al. 2021)."""
    return (100 * cls @ text.T).softmax(dim=-1)


def normalized_map(
    similarity: Tensor, grid_hw: tuple[int, int], size_hw: tuple[int, int]
) -> Tensor:
    """Scale each text's map to 0 to 1 over its tokens, then resize it bilinearly to the image.

    :param similarity: (B, N, T) without CLS.
    :returns: (B, H, W, T) in [0, 1]; a constant map is 0 everywhere.

    >>> similarity = torch.tensor([[[0.1], [0.2], [0.2], [0.3]]])  # 4 tokens, 1 text
    >>> normalized_map(similarity, grid_hw=(2, 2), size_hw=(2, 2))[0, :, :, 0]
    tensor([[0.0000, 0.5000],
            [0.5000, 1.0000]])
    """
    scaled = min_max(similarity, dim=1)
    maps = scaled.transpose(1, 2).unflatten(-1, grid_hw)  # (B, T, h, w)
    maps = F.interpolate(maps, size_hw, mode="bilinear", align_corners=False)
    return maps.permute(0, 2, 3, 1)


def min_max(values: Tensor, dim: int) -> Tensor:
    """Scale to [0, 1] along ``dim``; constant values become 0."""
    low, high = values.amin(dim, keepdim=True), values.amax(dim, keepdim=True)
    span = high - low
    return torch.where(span > _FLAT, (values - low) / span.clamp(min=_FLAT), 0.0)


def thresholded(
    similarity: NDArray[np.float32], thresholds: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return raw maps in which tokens below their label's threshold have its value.

    :param similarity: (T, h, w).
    :param thresholds: (T,).
    :returns: (T, h, w), at least the threshold; constant if no token exceeds it.
    """
    return np.maximum(similarity, thresholds[:, None, None])
