"""Which device and which precision the networks compute on."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Mapping

import torch

from clip_surgery_ros.arithmetic.layers import bfloat16_speedup
from clip_surgery_ros.core.errors import DeviceError
from clip_surgery_ros.parameters.checks import check_device

PRECISIONS: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""The torch dtype of each value of the parameter ``precision`` but ``auto``."""
FAST_FLOAT16 = ((5, 3), (6, 0), (6, 2))
"""Capabilities before 7.0 with fast float16: Jetson Nano, Tesla P100, Jetson TX2. The others of
that time, such as the GTX 10 series (6.1), compute in it at 1/64 of the speed, or not at all."""
OVERFLOWING = ("vit_t",)
"""Networks that overflow in float16. MobileSAM's ``LayerNorm2d`` squares in the working type, so
that values beyond 255 become infinite."""


def resolve_device(name: str, allow_cpu_fallback: bool = False) -> str:
    """Return the torch device that a value of the parameter ``device`` stands for.

    ``auto`` is the first CUDA device, or the CPU where there is none.

    :param name: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    :param allow_cpu_fallback: return the CPU where the CUDA device does not exist.
    :raises DeviceError: when the CUDA device does not exist.
    :raises ConfigError: when it is none of these names.
    """
    check_device(name)
    if name == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return name
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = name.partition(":")[2] or "0"
    if int(index) >= count:
        if allow_cpu_fallback:
            return "cpu"
        raise DeviceError(
            f"device '{name}' was asked for, but torch sees {count} CUDA devices; set device to "
            "cpu or auto, set allow_cpu_fallback, or check the driver with nvidia-smi"
        )
    return f"cuda:{index}"


def resolve_precision(name: str, device: str, model: str = "") -> str:
    """Return the precision that a value of the parameter ``precision`` stands for.

    ``auto`` is the precision that the device computes fastest in hardware, among those whose
    numbers the network can bear.

    :param device: from :func:`resolve_device`.
    :param model: value of ``clip_model`` or ``sam_model``.
    """
    if name != "auto":
        return name
    if device == "cpu":
        return cpu_precision(bfloat16_speedup())
    fastest = gpu_precision(torch.cuda.get_device_capability(device))
    return "float32" if fastest == "float16" and model in OVERFLOWING else fastest


def cpu_precision(speedup: float) -> str:
    """Return bfloat16 where its speed is worth its coarser numbers, else float32.

    AMX and AVX-512's bfloat16 instructions at least double the speed. Without them bfloat16 is
    slower than float32.

    :param speedup: speed of a layer in bfloat16 over its speed in float32.
    """
    return "bfloat16" if speedup >= 1.5 else "float32"


def gpu_precision(capability: tuple[int, int]) -> str:
    """Return the fastest precision of a GPU.

    From Ampere (8.0) on this is bfloat16, with the range of float32; before, float16 where the GPU
    computes in it at twice the speed of float32 at least (CUDA C Programming Guide, table
    "Throughput of Native Arithmetic Instructions").

    :param capability: CUDA compute capability, major and minor.
    """
    if capability >= (8, 0):
        return "bfloat16"
    is_fast = capability >= (7, 0) or capability in FAST_FLOAT16
    return "float16" if is_fast else "float32"


def use_tf32(allowed: bool) -> None:
    """Set whether GPUs may round the factors of float32's products and convolutions to TF32.

    TF32 has 10 bits of mantissa, so that results have errors of about 1e-3. torch allows it in
    convolutions and not in products, unless told otherwise.
    """
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def release_memory() -> None:
    """Return free memory of Python, CUDA and the C library to the system.

    Allocators keep freed tensors otherwise, and a node after cleanup would use as much memory as
    an active one.
    """
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # only glibc has malloc_trim
        ctypes.CDLL("libc.so.6").malloc_trim(0)
