"""Errors of a device: memory that ran out, and a GPU that computes nothing any more."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cv2
import torch

from clip_surgery_ros.core.errors import DeviceError, DeviceLostError

_SHORTAGES = re.compile(
    r"can't allocate memory"  # torch, on the CPU
    r"|\(-4:Insufficient memory\)"  # OpenCV
    r"|CUDA (driver )?error: out of memory"
    r"|(CUBLAS|CUDNN|CUSOLVER|CUSPARSE|CUFFT)\w*_ALLOC(ATION)?_FAILED"
)
"""What torch and CUDA's libraries say of a shortage in errors that are not OutOfMemoryError. Up to
version 8 cuDNN says ALLOC_FAILED, and since then INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch, of CUDA's libraries, NumPy or OpenCV is a shortage of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError | cv2.error) and bool(_SHORTAGES.search(str(error)))


def is_lost(device: str) -> bool:
    """Whether a GPU computes nothing any more in this process.

    After some errors, such as an access to an illegal address, every later call of CUDA in the
    process returns the same error. So the device is asked with one more call.

    :param device: torch device; a CPU is never lost.
    """
    if not device.startswith("cuda"):
        return False
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return True
    return False


@contextmanager
def device_errors_explained(
    device: str, shortage: str, release: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Raise errors of a device with a sentence for the operator; others pass unchanged.

    When memory ran out, what the failed work had taken is let go.

    :param device: torch device of the work.
    :param shortage: the sentence for a shortage of memory: what failed, and what helps.
    :param release: drops what is kept besides.
    :raises DeviceError: when memory ran out.
    :raises DeviceLostError: when the GPU computes nothing any more in this process.
    """
    try:
        yield
    except (RuntimeError, MemoryError, cv2.error) as error:
        if is_out_of_memory(error):
            release()
            _let_go(error)
            raise DeviceError(shortage) from error
        if isinstance(error, RuntimeError) and is_lost(device):
            reason = str(error).partition("\n")[0]
            raise DeviceLostError(
                f"device {device} failed ({reason}) and computes nothing any more in this "
                "process; only a new process can use it"
            ) from error
        raise


def _let_go(error: BaseException) -> None:
    """Free the tensors of the functions that an error ended, and return them to the device.

    The error keeps these functions' variables as long as it lives itself.
    """
    chain: BaseException | None = error
    while chain is not None:
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__cause__ or chain.__context__
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
