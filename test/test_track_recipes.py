"""The recipes of ``docs/tracks.md`` run as they stand, on a node that follows things."""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path

import pytest
from geometry_msgs.msg import PoseStamped
from pages import ROOT
from ros.depth_scene import NEAR
from ros.harness import Inbox, Process, wait_until
from ros.things import MUG, SAW, ThingsEngine
from ros.tracked_camera import IN_MAP, Deep
from std_msgs.msg import String

PAGE = (ROOT / "docs" / "tracks.md").read_text()


@pytest.fixture
def recipe(rigs, tmp_path: Path):
    """Run a recipe with a node that follows mugs and saws; give the camera and an inbox."""

    @contextmanager
    def run(name, kind, topic, *arguments):
        pattern = rf"^<!-- {name} -->\n```python\n(.*?)^```"
        (program,) = re.findall(pattern, PAGE, re.MULTILINE | re.DOTALL)
        file = tmp_path / name
        file.write_text(program)
        rig = rigs(engine=ThingsEngine(), tracking=True, image_timeout_s=0.0, **IN_MAP)
        rig.activate()
        rig.ask("mug; saw")
        inbox = Inbox(rig.outside, kind, topic)
        camera = Deep(rig)
        with Process(str(file), *arguments) as process:
            wait_until(lambda: rig.outside.count_subscribers("/clip_surgery/tracks") == 2)
            wait_until(lambda: rig.outside.count_publishers(topic) == 1)
            yield camera, inbox, process

    return run


def test_follow_it_publishes_the_pose_of_one_object_while_it_is_seen(recipe) -> None:
    arguments = ("--ros-args", "-p", "label:=mug")
    with recipe("follow_it.py", PoseStamped, "followed", *arguments) as (camera, poses, process):
        for step in range(3):
            camera.show(step, MUG, SAW, MUG.at(4))
        pose = poses.wait()
        assert pose.header.frame_id == "map"
        assert pose.pose.position.z == pytest.approx(NEAR, abs=0.01)
        expected = (MUG.box.x + MUG.box.width / 2 - 32) / 50 * NEAR
        assert pose.pose.position.x == pytest.approx(expected, abs=0.01)
        process.wait_for_line("mug/1 is seen")
        camera.show(3, x=5.0)
        process.wait_for_line("mug/1 is out_of_view its place is outside the picture")


def test_count_them_counts_what_is_there(recipe) -> None:
    with recipe("count_them.py", String, "counts") as (camera, counts, _):
        for step in range(2):
            camera.show(step, MUG, SAW, MUG.at(4))
        counts.wait(lambda message: message.data == "2 mug, 1 saw")
        camera.show(2, x=5.0)  # it looks away, and back
        for step in range(3, 6):
            camera.show(step, MUG, SAW)
        counts.wait(lambda message: message.data == "1 mug, 1 saw")
    texts = [message.data for message in counts.messages]
    assert texts == ["nothing", "2 mug, 1 saw", "1 mug, 1 saw"]


def test_tell_me_when_it_is_gone_says_it_once_and_where_it_stood(recipe) -> None:
    with recipe("tell_when_gone.py", String, "news") as (camera, news, _):
        for step in range(4):
            camera.show(step, MUG, SAW)
        camera.show(4, x=5.0)
        for step in range(5, 9):
            camera.show(step, SAW)
        (message,) = news.wait_count(1)
        assert message.data == "mug/1 is gone after 3 s; it stood at -0.06 -0.02 0.80 in map"
    assert len(news.messages) == 1
