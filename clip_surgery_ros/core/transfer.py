"""Copies between the host's memory and the device's, on GPUs through pinned memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clip_surgery_ros.core.interfaces import RgbImage


def on_device(image_rgb: RgbImage, device: torch.device) -> Tensor:
    """Return an image on the device, to which an array is copied once."""
    if isinstance(image_rgb, Tensor):
        return image_rgb.to(device)
    # A copy, because torch warns about read-only memory, and a message's may be that.
    return upload(np.array(image_rgb), device)


def upload(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """Return the array on the device; with CUDA the host does not wait for it (not measured)."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def download(tensor: Tensor) -> NDArray[Any]:
    """Return the values of a tensor on the host, which waits for them."""
    if tensor.device.type != "cuda":
        return np.asarray(tensor.cpu().numpy())
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return np.asarray(pinned.copy_(tensor).numpy())
