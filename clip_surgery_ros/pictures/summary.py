"""A result as lines of text, for the tools and the demo."""

from __future__ import annotations

from clip_surgery_ros.core.types import FrameResult

DEMO_NOTE = (
    "note: the demo networks know the demo's generated scenes only, not photographs; for real "
    "pictures give --clip-model, --clip-checkpoint, --sam-model and --sam-checkpoint (README, "
    '"Real networks")'
)


def result_summary(result: FrameResult) -> str:
    """Say what was found, what was not and why, and how long each stage took."""
    lines = [
        f"  found      {segment.name:<18} score {segment.score:.2f}  "
        f"presence {segment.presence:.2f}  box {segment.box.width} x {segment.box.height} at "
        f"({segment.box.x}, {segment.box.y})"
        for segment in result.segments
    ]
    lines += [f"  not found  {label.name:<18} {label.reason}" for label in result.absent]
    times = ", ".join(f"{k} {1000 * v:.0f} ms" for k, v in result.stage_seconds.items())
    return "\n".join([*lines, f"  time       {times}"])
