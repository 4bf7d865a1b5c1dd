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

from clip_surgery_ros.core.errors import WeightsError
from clip_surgery_ros.networks.devices import resolve_device
from clip_surgery_ros.training import checkpoints, exported
from clip_surgery_ros.training.clip_batches import ClipSteps
from clip_surgery_ros.training.clip_losses import WEIGHTS, contrastive_loss, losses
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
from clip_surgery_ros.training.options import ClipOptions, Machine, RunFiles
from clip_surgery_ros.training.validate_clip import validate
from clip_surgery_ros.training.windows import normalize
from clip_surgery_ros.training.world_views import Views
from clip_surgery_ros.weights.state_dicts import load_state_dict

MAX_GRADIENT_NORM = 5.0


def train(options: ClipOptions, files: RunFiles, machine: Machine) -> None:
    """Do the remaining steps and save a checkpoint at every validation."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(machine.threads)
    device = torch.device(resolve_device(machine.device))
    vocabulary = Vocabulary()
    model, heads = build_clip(len(vocabulary)).to(device), ObjectiveHeads().to(device)
    optimizers = clip_optimizers(model, heads, options.rate)
    state = _initial_state(files.resume, vocabulary)
    if files.resume:
        checkpoints.restore(model, state, files.resume)
        heads.load_state_dict(state["heads"])
    elif options.image_tower:
        _begin_with(options.image_tower, model)
    warm_up_from = checkpoints.resume_optimizers(optimizers, state)
    views = Views(files.views, "train", files.scenes)
    development = Views(files.views, "development")
    compiled = torch.compile(encode_images, dynamic=False)
    first, began = state["step"], time.monotonic() - state["seconds"]
    steps = ClipSteps(options, views, first)
    progress = tqdm(steps.load(machine.workers), initial=first, total=options.steps)
    for step, made in enumerate(progress, start=first):
        batch = made.to(device)
        set_rate(optimizers, options.rate * rate_at(step, options, warm_up_from))
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bfloat16):
            cls, tokens = compiled(model.visual, normalize(batch.images), batch.kept)
        encoded = cls.float(), tokens.float()
        if options.contrastive_only:
            parts = {"contrastive": contrastive_loss(model, encoded[0], batch, vocabulary)}
        else:
            parts = losses(model, heads, encoded, batch, vocabulary)
        loss = torch.stack([WEIGHTS[name] * value for name, value in parts.items()]).sum()
        update(optimizers, loss, model, MAX_GRADIENT_NORM)
        progress.set_postfix({name: f"{value.item():.2f}" for name, value in parts.items()})
        if files.is_due(step + 1, options.steps):
            figures = validate(model, heads, vocabulary, development)
            seconds = time.monotonic() - began
            tqdm.write(json.dumps({"step": step + 1, "seconds": round(seconds), **figures}))
            networks = {"model": model, "heads": heads}
            state = checkpoints.training_state(step + 1, seconds, networks, optimizers)
            checkpoints.save(state, files.checkpoint)


def _initial_state(resume: Path | None, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return what a run begins with: ``step``, ``seconds``, ``optims`` and, resumed, ``model`` and
    ``heads``.
    """
    if resume is None:
        return {"step": 0, "seconds": 0.0, "optims": []}
    if resume.suffix != exported.SUFFIX:
        return checkpoints.load(resume, ("step", "seconds", "model", "heads", "optims"))
    return {"seconds": 0.0, "optims": [], **exported.read_clip(resume, vocabulary)}


def _begin_with(file: Path, model: CLIP) -> None:
    """Copy the image tower of another CLIP, except its projection: that one leads into the space
    of the other's texts.

    :raises WeightsError: it has other sizes.
    """
    tensors, _ = load_state_dict(file)
    tower = {
        name.removeprefix("visual."): values.float()
        for name, values in tensors.items()
        if name.startswith("visual.")
    }
    tower["proj"] = model.visual.proj.detach()
    try:
        model.visual.load_state_dict(tower)
    except RuntimeError as error:
        raise WeightsError(f"the image tower of {file} is not of the demo CLIP's sizes") from error


def clip_optimizers(model: CLIP, heads: ObjectiveHeads, rate: float) -> Optimizers:
    """Build the optimizers; the matrices of the transformer blocks have one of their own."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_matrix = "resblocks" in name and parameter.ndim == 2
        (matrices if is_matrix else others).append(parameter)
    return build_optimizers(matrices, [*others, *heads.parameters()], rate, weight_decay=0.05)
