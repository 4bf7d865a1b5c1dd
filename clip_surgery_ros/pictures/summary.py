"""What was found in a picture, in words."""

from __future__ import annotations

from clip_surgery_ros.core.types import FrameResult

DEMO_NOTE = (
    "note: the demo networks know the demo's generated scenes only, not photographs; for real "
    "pictures give --clip-model, --clip-checkpoint, --sam-model and --sam-checkpoint (README, "
    '"Real networks")'
)


def report(result: FrameResult) -> str:
    """What was found, what was not and why, and where the time went."""
    lines = [
        f"  found      {s.name:<18} score {s.score:.2f}  presence {s.presence:.2f}  "
        f"box {s.box.width} x {s.box.height} at ({s.box.x}, {s.box.y})"
        for s in result.segments
    ]
    lines += [f"  not found  {label.name:<18} {label.reason}" for label in result.absent]
    times = ", ".join(f"{k} {1000 * v:.0f} ms" for k, v in result.stage_seconds.items())
    return "\n".join([*lines, f"  time       {times}"])
