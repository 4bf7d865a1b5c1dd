"""Fits of presence, ranking and score to samples: small regressions that need no network.

Every fit may be drawn towards values that are in force already. Few pictures then change little.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.core.presence import PresenceLevel
from clip_surgery_ros.core.ranking import FEATURES

RIDGE = 30.0
"""Penalty that keeps the weights of correlated features small. Fitted on a sixth of the demo's
scenes, 3 to 10 gave the best masks on another sixth."""
NEWTON_STEPS = 25
"""Many more than two parameters need."""


def fit_presence(
    present: Sequence[Tensor], absent: Sequence[Tensor], penalty: float = 0.0
) -> PresenceLevel:
    """Fit presence to cosines by logistic regression; present and absent labels weigh the same.

    In training, a name is absent fifty times as often as it is present, and the CLIP's own offset
    reflects that. A user queries things that are about as likely present as absent. Likewise, the
    kinds of present labels weigh the same, and those of absent ones.

    :param present: (P, 1 or 2) of each kind: the cosine with CLS, and that with the best token.
    :param absent: (A, 1 or 2) of each kind, likewise.
    :param penalty: of the squared weights per standard deviation of a cosine. Without one, labels
        that can be told apart without error give an infinite scale.
    """
    centre = (_mean_of_kinds(present) + _mean_of_kinds(absent)) / 2
    spread = torch.cat([*present, *absent]).std(dim=0)
    weights = torch.full_like(centre, 10.0).requires_grad_()
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=200, line_search_fn="strong_wolfe")

    def losses(kinds: Sequence[Tensor], sign: int) -> list[Tensor]:
        return [F.softplus(sign * ((kind - centre) @ weights + bias)) for kind in kinds]

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = _mean_of_kinds(losses(present, -1)) + _mean_of_kinds(losses(absent, 1))
        total = total + penalty * (weights * spread).square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    fitted = weights.detach()
    scale = float(fitted[0])
    offset = (float(centre @ fitted) - bias.item()) / scale
    return PresenceLevel(scale, offset, float(fitted[1:].sum()) / scale)


def _mean_of_kinds(kinds: Sequence[Tensor]) -> Tensor:
    """Return the mean over kinds of their means over rows."""
    return torch.stack([kind.mean(dim=0) for kind in kinds]).mean(dim=0)


def fit_ranking(
    features: NDArray[np.float64],
    overlaps: NDArray[np.float64],
    towards: NDArray[np.float32] | None = None,
) -> NDArray[np.float64]:
    """Fit IoU to products of two features each, by ridge regression.

    :param features: (M, F) of candidates.
    :param overlaps: (M,) IoU of each with an object of its label.
    :param towards: (F, F) weights that the penalty draws to; None draws to 0.
    :returns: (F, F) upper triangular, as ``ranking.WEIGHTS``.
    """
    rows, columns = np.triu_indices(len(FEATURES))
    x = features[:, rows] * features[:, columns]
    start = np.zeros(x.shape[1]) if towards is None else towards[rows, columns].astype(np.float64)
    change = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ (overlaps - x @ start))
    weights = np.zeros((len(FEATURES), len(FEATURES)))
    weights[rows, columns] = start + change
    return weights


def fit_logistic(
    x: NDArray[np.float64],
    true: NDArray[np.bool_],
    towards: tuple[float, float] = (0.0, 0.0),
    penalty: float = 0.0,
) -> tuple[float, float]:
    """Return the most likely offset and scale of ``sigmoid(offset + scale * x)``, found by
    Newton's method.

    :param x: (N,) predictors.
    :param true: (N,) outcomes.
    :param towards: offset and scale that the penalty draws to.
    :param penalty: of the squared change. Outcomes that follow from ``x`` without error need one.
    """
    design, solution = np.column_stack([np.ones_like(x), x]), np.array(towards)
    for _ in range(NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-design @ solution))
        curvature = design.T @ (design * (probability * (1 - probability))[:, None])
        slope = design.T @ (true - probability) - penalty * (solution - towards)
        solution = solution + np.linalg.solve(curvature + penalty * np.eye(2), slope)
    return float(solution[0]), float(solution[1])
