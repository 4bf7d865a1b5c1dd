"""For tests that need oneDNN's own products."""

from __future__ import annotations

import pytest
import torch

from clip_surgery_ros.arithmetic.layers import ComputeTarget, is_onednn_available


def needs_onednn(dtype: torch.dtype) -> pytest.MarkDecorator:
    """Skips where torch or the processor lacks them for the type, so that nothing would run."""
    served = is_onednn_available(ComputeTarget(torch.device("cpu"), dtype))
    return pytest.mark.skipif(not served, reason=f"no oneDNN for {dtype} here")
