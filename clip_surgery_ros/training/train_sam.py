"""Train the demo's SAM on rendered views, on a CPU.

It has segment-anything's own classes at a small size, and learns to predict masks from point
prompts: one click, or many positive and negative points as a heatmap gives them.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import nn
from tqdm import tqdm

from clip_surgery_ros.core.masks import innermost
from clip_surgery_ros.networks.devices import resolve_device
from clip_surgery_ros.networks.sam.build import build_sam
from clip_surgery_ros.training import checkpoints, exported
from clip_surgery_ros.training.optimization import (
    Optimizers,
    build_optimizers,
    rate_at,
    set_rate,
    update,
)
from clip_surgery_ros.training.options import Machine, RunFiles, SamOptions
from clip_surgery_ros.training.sam_data import (
    PromptedSteps,
    collate,
    low_resolution,
    masked_picture,
)
from clip_surgery_ros.training.sam_model import SPEC, losses, predict_masks
from clip_surgery_ros.training.world_views import Views

MAX_GRADIENT_NORM = 2.0
VALIDATE_EACH = 4
"""Step between the development views that are measured."""


def train(options: SamOptions, files: RunFiles, machine: Machine) -> None:
    """Do the remaining steps and save a checkpoint at every validation."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(machine.threads)
    device = torch.device(resolve_device(machine.device))
    sam = build_sam(SPEC).train().to(device)
    optimizers = sam_optimizers(sam, options.rate)
    state = _initial_state(files.resume)
    if files.resume:
        checkpoints.restore(sam, state, files.resume)
    warm_up_from = checkpoints.resume_optimizers(optimizers, state)
    views = Views(files.views, "train", files.scenes)
    development = Views(files.views, "development")
    compiled = torch.compile(predict_masks, dynamic=False)
    first, began = state["step"], time.monotonic() - state["seconds"]
    steps = PromptedSteps(options, views, first)
    progress = tqdm(steps.load(machine.workers), initial=first, total=options.steps)
    for step, made in enumerate(progress, start=first):
        batch = made.to(device)
        set_rate(optimizers, options.rate * rate_at(step, options, warm_up_from))
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bfloat16):
            logits, predicted_iou = compiled(sam, batch.pixels, batch.points, batch.labels)
        parts = losses(logits.float(), predicted_iou.float(), batch.targets)
        update(optimizers, parts["mask"] + parts["iou_error"], sam, MAX_GRADIENT_NORM)
        progress.set_postfix({name: f"{value.item():.3f}" for name, value in parts.items()})
        if files.is_due(step + 1, options.steps):
            figures = {"one_click_iou": validate(sam, development)}
            seconds = time.monotonic() - began
            tqdm.write(json.dumps({"step": step + 1, "seconds": round(seconds), **figures}))
            state = checkpoints.training_state(step + 1, seconds, {"model": sam}, optimizers)
            checkpoints.save(state, files.checkpoint)


def _initial_state(resume: Path | None) -> dict[str, Any]:
    """Return what a run begins with: ``step``, ``seconds``, ``optims`` and, resumed, ``model``."""
    if resume is None:
        return {"step": 0, "seconds": 0.0, "optims": []}
    if resume.suffix != exported.SUFFIX:
        return checkpoints.load(resume, ("step", "seconds", "model", "optims"))
    return {"seconds": 0.0, "optims": [], **exported.read_sam(resume)}


def sam_optimizers(sam: Sam, rate: float) -> Optimizers:
    """Build the optimizers; the matrices of the transformers have one of their own."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in sam.named_parameters():
        in_transformer = ".blocks." in name or ".transformer." in name
        is_matrix = in_transformer and parameter.ndim == 2 and "rel_pos" not in name
        (matrices if is_matrix else others).append(parameter)
    return build_optimizers(matrices, others, rate, weight_decay=0.02)


@torch.no_grad()
def validate(sam: Sam, views: Views) -> float:
    """Return the mean IoU on development views, from one click at each object's innermost pixel.

    Of the three masks, the one with the highest predicted IoU counts. A quarter of the views is
    measured, as each costs half a second.
    """
    ious = []
    for number in range(0, len(views), VALIDATE_EACH):
        view = views.read(number)
        picture = masked_picture(view.rgb, view.ids, view.objects)
        if picture is None:
            continue
        for mask in picture.masks:
            x, y = innermost(mask)
            sample = (
                picture.image,
                np.array([[[x, y]]], np.float32),
                np.ones((1, 1), np.float32),
                low_resolution(mask)[None, None],
            )
            batch = collate([sample]).to(sam.device)
            logits, predicted_iou = predict_masks(sam, batch.pixels, batch.points, batch.labels)
            best = logits[:, 1:][0, predicted_iou[0, 1:].argmax()][None, None]
            size = (SPEC.image_size, SPEC.image_size)
            full_size = F.interpolate(best, size, mode="bilinear", align_corners=False)[0, 0]
            found = (full_size > 0).cpu().numpy()[: mask.shape[0], : mask.shape[1]]
            ious.append((found & mask).sum() / (found | mask).sum())
    return round(float(np.mean(ious)), 4)
