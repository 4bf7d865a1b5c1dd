"""Optimizers, learning rate and update step that both trainings use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from clip_surgery_ros.training.options import ClipOptions, SamOptions

Optimizers = Sequence[torch.optim.Optimizer]


def build_optimizers(
    matrices: Iterable[nn.Parameter],
    others: Iterable[nn.Parameter],
    rate: float,
    weight_decay: float,
) -> Optimizers:
    """Build Muon for the matrices of transformers and AdamW for the rest (Jordan et al. 2024).

    :param weight_decay: of the matrices.
    """
    return [
        torch.optim.Muon(
            matrices, lr=rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def rate_at(
    step: int, options: ClipOptions | SamOptions, first: int = 0, warmup: int = 100
) -> float:
    """Return the share of the peak rate: linear warm-up, constant, linear decay to 0.

    :param first: step at which the warm-up begins.
    :param warmup: number of its steps.
    """
    left = options.steps - step
    return min(1.0, (step - first + 1) / warmup, left / options.decay if options.decay else 1.0)


def set_rate(optimizers: Optimizers, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def update(optimizers: Optimizers, loss: Tensor, network: nn.Module, max_norm: float) -> None:
    """Do one step of all optimizers.

    :param max_norm: the gradient of the network's parameters is scaled down to this norm.
    """
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), max_norm)
    for optimizer in optimizers:
        optimizer.step()
