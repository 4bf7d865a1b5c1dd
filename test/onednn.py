"""Skips tests where oneDNN's matrix products are not available."""

from __future__ import annotations

import pytest
import torch

from clip_surgery_ros.arithmetic.layers import ComputeTarget, is_onednn_available


def needs_onednn(dtype: torch.dtype) -> pytest.MarkDecorator:
    """Skip a test where torch or the processor has no oneDNN products for a type."""
    is_available = is_onednn_available(ComputeTarget(torch.device("cpu"), dtype))
    return pytest.mark.skipif(not is_available, reason=f"no oneDNN for {dtype} here")
