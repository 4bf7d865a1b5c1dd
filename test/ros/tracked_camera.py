"""Cameras for tests of ids that last: each shows things, and returns what the node says."""

from __future__ import annotations

from clip_surgery_ros.msg import SegmentArray, TrackArray
from ros.depth_scene import FRAME, DepthScene, S, of, stamp
from ros.harness import wait_until
from ros.rig import wait_frames, wait_readers
from ros.things import TEXTURE, depth_of
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from clip_surgery_ros.ros.images import image_message

IN_MAP = {
    "depth_topics": ["depth/image_raw"],
    "target_frame": "map",
    "box_mode": "axis_aligned",
    "support": "none",
    "tf_wait": 2.0,
}


class Flat:
    """A camera without depth, and what the node says of its images.

    :param rig: whose node is active and asked.
    """

    def __init__(self, rig, *names) -> None:
        self.rig, self.engine = rig, rig.engine
        self.start_ns = rig.outside.get_clock().now().nanoseconds
        self.read(names or ("tracks",))

    def read(self, names) -> None:
        """Read topics from now on."""
        kinds = {"tracks": TrackArray, "detections": Detection2DArray, "segments": SegmentArray}
        kinds["instances"] = Image
        self.inboxes = {name: self.rig.inbox(kinds[name], name) for name in names}
        names = ("~/tracks" if name == "tracks" else name for name in self.inboxes)
        wait_readers(self.rig, *names)

    def stop_reading(self) -> None:
        """Read nothing from now on."""
        for inbox in self.inboxes.values():
            inbox.close()
        wait_until(lambda: not self.rig.node.cameras[0].subscribed_outputs())

    def pass_by(self, seconds) -> None:
        """Show an image that nobody reads results of; wait until the node skipped it."""
        skipped = self.rig.node.cameras[0].tally.counts["skipped: nobody reads"]
        header = Header(stamp=stamp(self.start_ns + round(seconds * S)), frame_id=FRAME)
        self.rig.images.publish(image_message(TEXTURE, "rgb8", header))
        wait_frames(self.rig, "skipped: nobody reads", skipped + 1)

    def show(self, seconds, *things):
        """Show things at a time; return the messages about that image, by their names."""
        self.engine.things = things
        header = Header(stamp=stamp(self.start_ns + round(seconds * S)), frame_id=FRAME)
        self.rig.images.publish(image_message(TEXTURE, "rgb8", header))
        return [inbox.wait(of(header)) for inbox in self.inboxes.values()]


class Deep(Flat):
    """A camera with depth that stands in the map."""

    def __init__(self, rig, *names) -> None:
        super().__init__(rig, *names)
        self.scene = DepthScene(rig)

    def show(self, seconds, *things, x=0.0):
        """Show things to a camera that stands so many metres to the right."""
        self.engine.things = things
        ns = self.start_ns + round(seconds * S)
        for moment in (ns - S // 100, ns + S // 100):
            self.scene.send_pose(moment, x)
        self.scene.send_info(ns)
        self.scene.send_depth(ns, depth_of(things))
        header = self.scene.send_image(ns)
        return [inbox.wait(of(header)) for inbox in self.inboxes.values()]
