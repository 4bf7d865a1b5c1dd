"""The recipes of ``docs/space.md`` run as they stand, on a node that finds a board in space."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from geometry_msgs.msg import PoseStamped
from pages import ROOT
from ros.depth_scene import NEAR, BoardEngine, DepthScene, of
from ros.harness import Inbox, Process
from ros.rig import wait_readers

from clip_surgery_ros.ros.outputs import OUTPUTS, SPACE_OUTPUTS

PAGE = (ROOT / "docs" / "space.md").read_text()


def test_grasp_it_publishes_the_pose_of_the_box(rigs, tmp_path: Path) -> None:
    (program,) = re.findall(r"^<!-- grasp_pose.py -->\n```python\n(.*?)^```", PAGE, re.M | re.S)
    file = tmp_path / "grasp_pose.py"
    file.write_text(program)
    rig = rigs(
        engine=BoardEngine(),
        depth_topics=["depth/image_raw"],
        target_frame="map",
        box_mode="axis_aligned",
        support="none",
        tf_wait=2.0,
    )
    rig.activate()
    rig.ask("board")
    scene = DepthScene(rig)
    poses = Inbox(rig.outside, PoseStamped, "grasp_pose")
    with Process(str(file)):
        wait_readers(rig, "segments")
        scene.send_pose(scene.at(0), 0.5)
        header = scene.send(scene.at(0))
        pose = poses.wait(of(header))
    assert pose.header.frame_id == "map"
    assert pose.pose.position.x == pytest.approx(0.5, abs=0.002)
    assert pose.pose.position.z == pytest.approx(NEAR, abs=0.002)


def test_parameter_files_of_the_recipes_name_topics_of_the_node() -> None:
    files = [
        yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
    ]
    assert len(files) == 2
    topics = set(re.findall(r"/clip_surgery/(\w+)", yaml.dump_all(files)))
    assert topics == {"background_points", "points"}
    assert topics <= {output.name for output in (*OUTPUTS, *SPACE_OUTPUTS)}
