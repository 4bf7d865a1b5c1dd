"""``core``, ``networks`` and ``tools`` import no ROS; ``core`` imports no network package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

OPTIONAL = ("mobile_sam", "sam2", "hydra")
ROS = ("rclpy", "std_msgs", "sensor_msgs", "vision_msgs", "cv_bridge", "ament_index_python")
GUARD = """
import importlib, pkgutil, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Block())
package = importlib.import_module({package!r})
names = [m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


@pytest.mark.parametrize(
    ("package", "blocked"),
    [
        ("clip_surgery_ros.core", (*ROS, "open_clip", "segment_anything")),
        ("clip_surgery_ros.networks", (*ROS, *OPTIONAL)),
        ("clip_surgery_ros.tools", (*ROS, *OPTIONAL)),
    ],
)
def test_modules_import_without_the_blocked_packages(
    package: str, blocked: tuple[str, ...], tmp_path: Path
) -> None:
    code = GUARD.format(package=package, blocked=blocked)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 4
