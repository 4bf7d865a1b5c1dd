"""The recipes of ``docs/space.md`` run as they stand, on a node that finds a board in space."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from geometry_msgs.msg import PoseStamped
from pages import ROOT
from rclpy.qos import qos_profile_sensor_data
from ros.depth_scene import (
    FAR,
    FRAME,
    HEIGHT,
    NEAR,
    SIZE_HW,
    WIDTH,
    BoardEngine,
    DepthScene,
    of,
    stamp,
)
from ros.harness import Inbox, Process
from ros.rig import wait_frames, wait_readers
from sensor_msgs.msg import PointCloud2, PointField
from tf2_msgs.msg import TFMessage

from clip_surgery_ros.ros.camera_messages import transform
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


def parameters(word: str) -> dict:
    """Return the parameter file of the page that has a word."""
    found = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
    (text,) = [text for text in found if word in text]
    return yaml.safe_load(text)


def test_parameter_files_of_the_recipes_name_topics_of_the_node() -> None:
    files = [parameters("Octomap"), parameters("costmap")]
    topics = set(re.findall(r"/clip_surgery/(\w+)", yaml.dump_all(files)))
    assert topics == {"background_points", "points"}
    assert topics <= {output.name for output in (*OUTPUTS, *SPACE_OUTPUTS)}


class Forgetful(BoardEngine):
    """Finds the board while it is there."""

    is_there = True

    def run(self, image_rgb, query, wanted):
        """Record the request and answer it."""
        result = super().run(image_rgb, query, wanted)
        return result if self.is_there else replace(result, segments=())


CAMERA_IN_MAP = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0.3], [0, 0, 0, 1.0]])
"""The camera looks along the map's x, 0.3 m above its floor."""


@pytest.fixture
def scene(rigs) -> DepthScene:
    """A node that is asked for the board, which a camera in the map sees."""
    rig = rigs(
        engine=Forgetful(), depth_topics=["depth/image_raw"], target_frame="map", tf_wait=2.0
    )
    rig.activate()
    rig.ask("board")
    return DepthScene(rig)


def read(scene: DepthScene, topic: str) -> Inbox:
    """Subscribe as MoveIt's octomap and Nav2's costmap do."""
    inbox = Inbox(scene.rig.outside, PointCloud2, topic, qos_profile_sensor_data)
    wait_readers(scene.rig, topic.rpartition("/")[2])
    return inbox


def look(scene: DepthScene, seconds: float, metres: np.ndarray | None = None):
    """Send all that a robot does at a time; return the image's header."""
    ns = scene.at(seconds)
    moving = transform(CAMERA_IN_MAP, "map", FRAME, stamp(ns))
    scene.tf.publish(TFMessage(transforms=[moving]))
    scene.send_info(ns)
    scene.send_depth(ns, metres)
    return scene.send_image(ns)


def points_of(cloud: PointCloud2) -> np.ndarray:
    """Return the finite points of a cloud, (P, 3), found by its fields as C++ iterators do."""
    offsets = {field.name: field.offset for field in cloud.fields if field.name in "xyz"}
    kinds = {field.datatype for field in cloud.fields if field.name in "xyz"}
    assert kinds == {PointField.FLOAT32} and not cloud.is_bigendian
    kind = np.dtype(
        {
            "names": [*"xyz"],
            "formats": ["<f4"] * 3,
            "offsets": [*map(offsets.get, "xyz")],
            "itemsize": cloud.point_step,
        }
    )
    assert cloud.row_step == cloud.width * cloud.point_step
    assert len(cloud.data) == cloud.height * cloud.row_step
    values = np.frombuffer(cloud.data, kind)
    points = np.stack([values[axis] for axis in "xyz"], 1).astype(float)
    return points[np.isfinite(points).all(1)]


def test_octomap_gets_the_scene_without_the_thing(scene) -> None:
    sensor = parameters("Octomap")["without_targets"]
    clouds = read(scene, sensor["point_cloud_topic"])
    header = look(scene, 0)
    cloud = clouds.wait(of(header))
    # MoveIt transforms the cloud by frame and stamp.
    assert cloud.header == header
    points = points_of(cloud)
    assert len(points) > 0.5 * SIZE_HW[0] * SIZE_HW[1]
    np.testing.assert_allclose(points[:, 2], FAR, atol=0.002)
    assert points[:, 2].max() < sensor["max_range"]
    # Nothing is said of the place of the board: no ray goes through it.
    x, y = (points[:, :2] * (NEAR / points[:, 2:])).T
    assert not ((np.abs(x) < WIDTH / 2) & (np.abs(y) < HEIGHT / 2)).any()


def test_octomap_gets_the_whole_scene_when_nothing_is_found_and_none_without_a_query(
    scene,
) -> None:
    clouds = read(scene, parameters("Octomap")["without_targets"]["point_cloud_topic"])
    scene.rig.ask("")
    look(scene, 0)
    wait_frames(scene.rig, "skipped: nothing asked", 1)
    scene.rig.engine.is_there = False
    scene.rig.ask("board")
    header = look(scene, 0.1)
    cloud = clouds.wait(of(header))
    assert len(points_of(cloud)) == SIZE_HW[0] * SIZE_HW[1]
    assert clouds.messages == [cloud]


class Costmap:
    """Cells of the map's plane, by the rules of Nav2's obstacle layer: first the rays of clearing
    sources clear, then the points of marking ones mark.

    :param sources: parameters by name of the source.
    """

    CELL = 0.05

    def __init__(self, sources: dict[str, dict]) -> None:
        self.sources, self.marked = sources, set()

    def update(self, clouds: dict[str, PointCloud2]) -> None:
        for does in ("clearing", "marking"):
            for name, source in self.sources.items():
                if source[does]:
                    points = self._in_map(source, clouds[name])
                    change = self._clear if does == "clearing" else self._mark
                    change(points)

    @staticmethod
    def _in_map(source: dict, cloud: PointCloud2) -> np.ndarray:
        points = points_of(cloud) @ CAMERA_IN_MAP[:3, :3].T + CAMERA_IN_MAP[:3, 3]
        low, high = source["min_obstacle_height"], source["max_obstacle_height"]
        return points[(points[:, 2] >= low) & (points[:, 2] <= high)]

    def _cells(self, points: np.ndarray) -> set[tuple[int, int]]:
        return {(int(x), int(y)) for x, y in np.floor(points[:, :2] / self.CELL)}

    def _mark(self, points: np.ndarray) -> None:
        self.marked |= self._cells(points)

    def _clear(self, points: np.ndarray) -> None:
        eye = CAMERA_IN_MAP[:3, 3]
        for share in np.linspace(0, 1, 100):
            self.marked -= self._cells(eye + share * (points - eye))


def test_costmap_marks_the_thing_at_its_place_and_forgets_it_when_it_is_gone(scene) -> None:
    layers = parameters("costmap")["local_costmap"]["local_costmap"]["ros__parameters"]
    layer = layers["found_layer"]
    sources = {name: layer[name] for name in layer["observation_sources"].split()}
    assert {source["data_type"] for source in sources.values()} == {"PointCloud2"}
    inboxes = {name: read(scene, source["topic"]) for name, source in sources.items()}
    costmap = Costmap(sources)
    header = look(scene, 0)
    costmap.update({name: inbox.wait(of(header)) for name, inbox in inboxes.items()})
    cells = np.array(sorted(costmap.marked)) * Costmap.CELL
    assert len(cells) >= WIDTH / Costmap.CELL
    np.testing.assert_allclose(cells[:, 0], NEAR, atol=Costmap.CELL)
    assert np.abs(cells[:, 1]).max() < WIDTH / 2 + Costmap.CELL

    scene.rig.engine.is_there = False
    header = look(scene, 0.1, np.full(SIZE_HW, FAR, np.float32))
    costmap.update({name: inbox.wait(of(header)) for name, inbox in inboxes.items()})
    assert costmap.marked == set()
