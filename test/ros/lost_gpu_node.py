"""The node's program with fake networks whose GPU fails on the first frame.

Usage: lost_gpu_node.py --ros-args -p default_query:=mug
"""

import sys
from pathlib import Path
from queue import SimpleQueue

sys.path.insert(0, str(Path(__file__).parents[1]))
from ros.fakes import FakeEngine, FakeNetworks

from clip_surgery_ros.core.errors import DeviceLostError
from clip_surgery_ros.node import program
from clip_surgery_ros.node.ending import end_process


def fail(image_rgb):
    raise DeviceLostError("device cuda:0 failed (CUDA error: unspecified launch failure)")


program.load_networks = lambda config, **options: FakeNetworks(FakeEngine(before=fail))
end_process(program.run(sys.argv, SimpleQueue()))
