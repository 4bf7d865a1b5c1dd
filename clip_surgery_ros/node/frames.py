"""From a camera image to published results, or to the reason why there are none.

The executor's thread decides whether an image is skipped and hands it to the worker. The worker
decides again when the image's turn has come, runs the networks and publishes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import Header

from clip_surgery_ros.core.errors import ClipSurgeryError
from clip_surgery_ros.core.types import Query
from clip_surgery_ros.msg import TrackArray
from clip_surgery_ros.node.inference import Inference
from clip_surgery_ros.node.tracking import Tracking
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.ros.camera import Camera, CameraImage
from clip_surgery_ros.ros.newest_worker import Job, NewestWorker
from clip_surgery_ros.ros.outputs import Frame, Output, wanted_work
from clip_surgery_ros.ros.pairing import Pairing, stamp_ns
from clip_surgery_ros.ros.parameters import NodeParameters
from clip_surgery_ros.ros.queries import Queries
from clip_surgery_ros.ros.track_messages import track_array

TELL_NS = 200_000_000
"""Least time between two images at which remembered objects are published without results."""
REPEAT_S = 5.0
"""The same error about a camera's frames is logged at most once in this time, in seconds."""
NO_QUERY, SWITCHED_OFF = "skipped: nothing asked", "skipped: switched off"
NO_READER, RATE_LIMIT = "skipped: nobody reads", "skipped: rate limit"
TOO_OLD, DROPPED = "skipped: too old", "dropped"
FRAME_COUNTS = (
    *("in", "answered", "failed", DROPPED, NO_QUERY, NO_READER),
    *(SWITCHED_OFF, RATE_LIMIT, TOO_OLD, "lost on the way"),
)
"""Counters of a camera's frames. A frame that came ``in`` is being processed, waits for the
worker, or counts in one of the others, except "lost on the way": those never arrived."""
FRAME_SPREADS = ("age on arrival", "answered", "age")
"""Durations of a camera's frames in seconds: from stamp to arrival, of the processing, and from
stamp to publication."""


class FrameHandler:
    """Skips each camera image, or has the worker process it and publish the results.

    :param node: logs, and has the clock for the age of images.
    :param parameters: of the node.
    :param queries: hold the query in force.
    :param worker: processes the images.
    :param inference: runs the networks.
    :param tracking: follows objects from frame to frame.
    :param is_ending: tells whether the process ends: frames that fail then are not reported.
    """

    def __init__(
        self,
        node: Node,
        parameters: NodeParameters,
        queries: Queries,
        worker: NewestWorker,
        inference: Inference,
        tracking: Tracking,
        is_ending: Callable[[], bool],
    ) -> None:
        self._parameters, self._queries, self._tracking = parameters, queries, tracking
        self._worker, self._inference, self._is_ending = worker, inference, is_ending
        self._clock, self._logger = node.get_clock(), node.get_logger()
        self._has_reported_no_query = False
        self.enabled = True
        """False skips all images: ``~/enable`` was called with false."""

    def begin(self, config: Config) -> None:
        """Prepare for the cameras of a configuration."""
        self.report_no_query_again()
        if note := self._tracking.begin(config):
            self._logger.info(note)

    def report_no_query_again(self) -> None:
        """Let the next image without a query be reported in the log once more."""
        self._has_reported_no_query = False

    def on_image(self, camera: Camera, message: CameraImage) -> None:
        """Skip an image that arrived, or offer it to the worker; never waits for the networks."""
        camera.age_s = self._age_s(message.header)
        camera.record_age("age on arrival", camera.age_s)
        query, config = self._queries.active.query, self._parameters.config
        if reason := reason_on_arrival(camera, query, self.enabled, config.max_rate_hz):
            if reason == NO_QUERY:
                self._report_no_query()
            if reason in (NO_QUERY, SWITCHED_OFF):
                self._let_time_pass(camera, message.header)
            camera.tally.count(reason)
            return
        pairing = None if camera.depth is None else camera.depth.pair(message.header, config)
        job = Job(
            run=partial(self._process, camera, message, pairing),
            failed=partial(self._report_failure, camera, message.header),
            dropped=partial(camera.tally.count, DROPPED),
        )
        if not self._worker.offer(camera, job):
            job.dropped()

    def _process(self, camera: Camera, message: CameraImage, pairing: Pairing | None) -> None:
        """On the worker's thread: turn an image message into published results.

        :param pairing: depth and transforms of the image; None of a camera without depth.
        """
        start_s = time.perf_counter()
        if reason := self._reason_before_work(camera, message):
            camera.tally.count(reason)
            return
        image_rgb = self._inference.to_rgb(message)
        any_threshold = False
        while not self._publish_results(camera, message, image_rgb, pairing, any_threshold):
            # The mask's key has changed meanwhile. To process the frame again is cheap, as the
            # networks keep what they computed of the last image.
            is_stopped = not self._worker.is_running
            reason = DROPPED if is_stopped else self._reason_before_work(camera, message)
            if reason:
                camera.tally.count(reason)
                return
            # Once is enough: a threshold that changes faster than frames are processed must not
            # stop all results.
            any_threshold = True
        camera.last_error = ""
        camera.tally.record("answered", time.perf_counter() - start_s)
        camera.record_age("age", self._age_s(message.header))

    def _reason_before_work(self, camera: Camera, message: CameraImage) -> str:
        return reason_before_work(
            camera,
            self._queries.active.query,
            self._age_s(message.header),
            self._parameters.config.max_frame_age_s,
        )

    def _publish_results(
        self,
        camera: Camera,
        message: CameraImage,
        image_rgb: NDArray[np.uint8],
        pairing: Pairing | None,
        any_threshold: bool,
    ) -> bool:
        """Process an image and publish the results that have subscribers.

        **A frame keeps the query and the parameters that are in force here, when its processing
        begins**, even if others come into force before it ends. There is one exception: when the
        labels or the presence threshold changed meanwhile, ``~/label_info`` no longer describes
        this frame's mask. Then nothing is published, and the caller processes the frame again
        with the new query.

        Results in space come last, since depth and transforms may be waited for. So do those with
        ids of objects that are followed over time, which may depend on places in space.

        :param any_threshold: publish also when only the presence threshold changed.
        :return: whether all results were published.
        """
        query, config = self._queries.active, self._parameters.config
        outputs = camera.subscribed_outputs()
        wanted = wanted_work(outputs, camera.topic.tracking)
        if wanted is None or not query.query.labels:
            return False
        frame = self._inference.run(image_rgb, message.header, query, wanted, config)
        query_of_frame = replace(query, threshold=config.presence_threshold)
        if_current = partial(
            self._queries.publish_if_current, query_of_frame, any_threshold=any_threshold
        )
        later = [
            output
            for output in outputs
            if (output.in_space and pairing is not None)
            or (output.shows_ids and camera.topic.tracking)
        ]
        others = [output for output in outputs if output not in later]
        if not self._publish(camera, others, frame, if_current):
            return False
        if later:
            frame = self._located(camera, frame, pairing, later, config)
        if camera.topic.tracking and any(output.shows_ids for output in later):
            # Before objects are followed: a frame that is processed again would count twice.
            if not self._queries.is_current(query_of_frame, any_threshold=any_threshold):
                return False
            paired = None if pairing is None or frame.space is None else pairing.wait()
            frame = self._inference.follow(self._tracking, camera.topic, frame, paired, config)
        return self._publish(camera, later, frame, if_current)

    def _located(
        self,
        camera: Camera,
        frame: Frame,
        pairing: Pairing | None,
        outputs: Sequence[Output],
        config: Config,
    ) -> Frame:
        """Return the frame with places in space, if outputs or ids that last need them."""
        needs_space = any(output.in_space for output in outputs)
        needs_space = needs_space or self._tracking.uses_space(camera.topic, config)
        if pairing is None or camera.depth is None or not needs_space:
            return frame
        located = self._inference.locate(frame, pairing.wait(), config)
        camera.depth.report(located.space.failure if located.space else None)
        return located

    def _publish(
        self,
        camera: Camera,
        outputs: Sequence[Output],
        frame: Frame,
        if_current: Callable[[Callable[[], None]], bool],
    ) -> bool:
        """Publish some results; return whether that was done, which no results always are."""
        if not outputs:
            return True
        seconds = camera.publish(outputs, frame, if_current)
        for output, duration_s in seconds.items():
            self._inference.tally.record(f"publish {output}", duration_s)
        return bool(seconds)

    def _let_time_pass(self, camera: Camera, header: Header) -> None:
        """Publish the objects that are remembered, at an image that has no results; not at every
        image of a fast camera, as that would keep the executor's thread busy.
        """
        if not camera.topic.tracking or 0 <= stamp_ns(header) - camera.told_ns < TELL_NS:
            return
        camera.told_ns = stamp_ns(header)
        labels = self._queries.active.query.names

        def message() -> TrackArray:
            config = self._parameters.config
            return track_array(self._tracking.pass_time(header, labels, config), header)

        camera.publish_tracks(message)

    def _age_s(self, header: Header) -> float | None:
        return age_s(header, self._clock.now().nanoseconds)

    def _report_no_query(self) -> None:
        """Log that images arrive without a query, once until the query changes."""
        if not self._has_reported_no_query:
            self._has_reported_no_query = True
            self._logger.info("images arrive and nothing is asked for: no work is done")

    def _report_failure(self, camera: Camera, header: Header, error: Exception, text: str) -> None:
        """On the worker's thread: count a failed frame; log a new error, or an old one seldom."""
        if self._is_ending():
            return  # ROS was shut down while the frame was processed
        self._let_time_pass(camera, header)
        is_new = str(error) != camera.last_error
        last_s = camera.tally.seconds_since("error logged")
        camera.last_error = str(error) or type(error).__name__
        camera.tally.count("failed")
        if is_new or last_s is None or last_s >= REPEAT_S:
            camera.tally.count("error logged")
            self._logger.error(f"frame not answered: {log_text(error, text)}")


def reason_on_arrival(camera: Camera, query: Query, enabled: bool, max_rate_hz: float) -> str:
    """Return the counter for an image that is skipped when it arrives; empty to process it.

    :param enabled: whether images are processed at all.
    :param max_rate_hz: most images per second; 0 is no limit.
    """
    if not query.labels:
        return NO_QUERY
    if not enabled:
        return SWITCHED_OFF
    if not camera.subscribed_outputs():
        return NO_READER
    return "" if camera.rate.is_due(max_rate_hz) else RATE_LIMIT


def reason_before_work(camera: Camera, query: Query, age_s: float | None, max_age_s: float) -> str:
    """Return the counter for an image that is skipped when its turn comes; empty to process it.

    Subscribers and query are checked again: they may have changed since the image arrived.

    :param age_s: seconds since the image's stamp; None when unknown.
    :param max_age_s: greatest age; 0 is no limit.
    """
    if not camera.subscribed_outputs():
        return NO_READER
    if not query.labels:
        return NO_QUERY
    is_old = age_s is not None and 0 < max_age_s < age_s
    return TOO_OLD if is_old else ""


def age_s(header: Header, now_ns: int) -> float | None:
    """Return the seconds since a stamp.

    :param now_ns: nanoseconds on the node's clock; 0 before simulated time began.
    :return: None without a stamp, or before simulated time began.
    """
    # Not rclpy's Time, which refuses stamps before 1970.
    stamp_ns = header.stamp.sec * 10**9 + header.stamp.nanosec
    return (now_ns - stamp_ns) / 1e9 if stamp_ns and now_ns else None


def log_text(error: Exception, traceback: str) -> str:
    """Return what the log says of an error: its message if this package raised it on purpose,
    else its traceback.

    The traceback is text because rclpy's logger refuses ``exc_info``.
    """
    return str(error) if isinstance(error, ClipSurgeryError) else traceback
