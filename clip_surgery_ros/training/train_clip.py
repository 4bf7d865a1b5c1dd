"""Train the demo's CLIP on rendered views, from scratch, on a CPU.

``clip_losses.py`` has the objectives. The result is a plain CLIP in OpenAI's state-dict layout;
nothing but the CLIP is needed to use it. The learning rate depends on the step alone, so that a
training can be interrupted and resumed.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from torch import nn
from tqdm import tqdm

from clip_surgery_ros.training import checkpoints
from clip_surgery_ros.training.clip_batches import batches
from clip_surgery_ros.training.clip_losses import WEIGHTS, losses
from clip_surgery_ros.training.clip_model import (
    ObjectiveHeads,
    Vocabulary,
    build_clip,
    encode_images,
)
from clip_surgery_ros.training.optimization import (
    Optimizers,
    build_optimizers,
    rate_at,
    set_rate,
    update,
)
from clip_surgery_ros.training.options import ClipOptions
from clip_surgery_ros.training.validate_clip import validate
from clip_surgery_ros.training.windows import normalize
from clip_surgery_ros.training.world_views import check_views

MAX_GRADIENT_NORM = 5.0


def train(
    options: ClipOptions,
    views: Path,
    shards: int,
    out: Path,
    resume: Path | None,
    validate_every: int,
) -> None:
    """Do the remaining steps and save a checkpoint at every validation.

    :param views: folder of :mod:`world_views`.
    :param shards: of the training split, all rendered.
    :param out: checkpoint to write.
    :param resume: checkpoint to continue from.
    """
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    vocabulary = Vocabulary()
    model, heads = build_clip(len(vocabulary)), ObjectiveHeads()
    optimizers = clip_optimizers(model, heads, options.rate)
    first, seconds = _restore(resume, model, heads, optimizers) if resume else (0, 0.0)
    check_views(views, shards)
    compiled = torch.compile(encode_images, dynamic=False)
    began = time.monotonic() - seconds
    progress = tqdm(
        batches(options, views, shards, first), initial=first, total=options.steps, mininterval=10
    )
    for step, batch in enumerate(progress, start=first):
        set_rate(optimizers, options.rate * rate_at(step, options))
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
            cls, tokens = compiled(model.visual, normalize(batch.images))
        parts = losses(model, heads, (cls.float(), tokens.float()), batch, vocabulary)
        loss = torch.stack([WEIGHTS[name] * value for name, value in parts.items()]).sum()
        update(optimizers, loss, model, MAX_GRADIENT_NORM)
        progress.set_postfix({name: f"{value.item():.2f}" for name, value in parts.items()})
        if (step + 1) % validate_every == 0 or step + 1 == options.steps:
            metrics = validate(model, heads, vocabulary, views)
            seconds = time.monotonic() - began
            log = {
                "step": step + 1,
                "seconds": round(seconds),
                **{name: round(value.item(), 3) for name, value in parts.items()},
                **metrics,
            }
            tqdm.write(json.dumps(log))
            state = {
                "step": step + 1,
                "seconds": seconds,
                "model": model.state_dict(),
                "heads": heads.state_dict(),
                "optims": [optimizer.state_dict() for optimizer in optimizers],
            }
            checkpoints.save(state, out)


def _restore(
    path: Path, model: CLIP, heads: ObjectiveHeads, optimizers: Optimizers
) -> tuple[int, float]:
    """Load a checkpoint; return its step and the seconds that the training took so far."""
    state: dict[str, Any] = checkpoints.load(path, ("step", "seconds", "model", "heads", "optims"))
    checkpoints.restore(model, state, path)
    heads.load_state_dict(state["heads"])
    for optimizer, saved in zip(optimizers, state["optims"], strict=True):
        optimizer.load_state_dict(saved)
    return state["step"], state["seconds"]


def clip_optimizers(model: CLIP, heads: ObjectiveHeads, rate: float) -> Optimizers:
    """Build the optimizers; the matrices of the transformer blocks have one of their own."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_matrix = "resblocks" in name and parameter.ndim == 2
        (matrices if is_matrix else others).append(parameter)
    return build_optimizers(matrices, [*others, *heads.parameters()], rate, weight_decay=0.05)
