"""Results stay recent with a camera faster than inference: the newest frame is processed."""

import time

import numpy as np
from clip_surgery_ros.msg import SegmentArray
from diagnostic_msgs.msg import DiagnosticArray
from ros.harness import CAMERA, NODE, START_S, Inbox, Process
from ros.known_scene import VIEW
from ros.rig import values_of
from sensor_msgs.msg import Image

from clip_surgery_ros.ros import qos

RATE_HZ = 60
RESULTS = 40
SLACK_S = 0.020


class Arrivals(Inbox):
    """Records arrival time and age of each message, in seconds."""

    def __init__(self, *arguments):
        self.times_s, self.ages_s = [], []
        super().__init__(*arguments)

    def _keep(self, message):
        stamp, now_s = message.header.stamp, time.time()
        self.times_s.append(now_s)
        self.ages_s.append(now_s - stamp.sec - 1e-9 * stamp.nanosec)
        super()._keep(message)


def test_result_age_is_at_most_one_inference_and_one_frame(ros_node):
    """Nine in ten results must meet the bound, because a machine sometimes stalls.

    The bound uses the time since the previous result as the inference time. A second subscriber
    measures how late the images themselves arrive, which may be much on a busy machine.
    """
    camera = Process(*CAMERA, "--rate", str(RATE_HZ), *VIEW)
    query = ("-p", "default_query:=apple; hammer; toy car", "-p", "presence_threshold:=0.0")
    with camera, Process(*NODE, *query) as node:
        images = Arrivals(ros_node, Image, "/image_raw", qos.newest_image())
        segments = Arrivals(ros_node, SegmentArray, "/clip_surgery/segments")
        node.wait_for_line("active on", START_S)
        segments.wait_count(5, START_S)
        assert camera.alive, camera.text()
        first, before_mib = len(segments.messages), node.held_mib
        first_image = len(images.messages)
        segments.wait_count(first + RESULTS, START_S)
        part = slice(first, first + RESULTS)
        results, ages_s = segments.messages[part], segments.ages_s[part]
        images_s = sorted(images.ages_s[first_image:])
        health = Inbox(ros_node, DiagnosticArray, "/diagnostics")
        values = values_of(health.wait(lambda message: len(message.status) == 2).status[1])

        inference_s = [sum(result.stage_seconds) for result in results]
        assert min(inference_s) > 1 / RATE_HZ, "inference must be slower than the camera"
        interval_s = np.diff(segments.times_s[first - 1 : first + RESULTS])
        slack_s = SLACK_S + images_s[int(0.9 * len(images_s))]
        late_s = np.array(ages_s) - interval_s - 1 / RATE_HZ
        fresh = np.count_nonzero(late_s < slack_s)
        print(
            f"inference {min(inference_s):.3f} to {max(inference_s):.3f} s, "
            f"age {min(ages_s):.3f} to {max(ages_s):.3f} s, "
            f" {fresh} of {RESULTS} within {slack_s:.3f} s of the bound, "
            f"{before_mib:.0f} to {node.held_mib:.0f} MiB, {values}"
        )
        assert slack_s < np.median(interval_s), "the bound would not detect a delay of one frame"
        assert fresh >= 0.9 * RESULTS
        stamps = [(r.header.stamp.sec, r.header.stamp.nanosec) for r in results]
        assert stamps == sorted(set(stamps)), "an older frame came after a newer one"
        assert int(values["frames dropped"]) >= RESULTS
        assert node.held_mib < before_mib + 30
