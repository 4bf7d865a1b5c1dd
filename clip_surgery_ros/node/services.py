"""The services ``~/segment``, which processes one image, and ``~/enable``."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from builtin_interfaces.msg import Time
from rclpy.node import Node
from std_srvs.srv import SetBool

from clip_surgery_ros.core.errors import ClipSurgeryError, QueryError
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.types import Wanted
from clip_surgery_ros.node.camera_set import CameraSet
from clip_surgery_ros.node.frames import FrameHandler
from clip_surgery_ros.node.inference import Inference
from clip_surgery_ros.ros import messages
from clip_surgery_ros.ros.camera import CameraImage
from clip_surgery_ros.ros.executor import SideThreadGroup
from clip_surgery_ros.ros.newest_worker import Job, NewestWorker
from clip_surgery_ros.ros.outputs import Frame
from clip_surgery_ros.ros.pairing import Paired, sent_along
from clip_surgery_ros.ros.parameters import NodeParameters
from clip_surgery_ros.ros.queries import ActiveQuery, Queries
from clip_surgery_ros.ros.transforms import Transforms
from clip_surgery_ros.srv import Segment


class SegmentService:
    """The service ``~/segment``: processes one image between the frames of the cameras.

    :param node: has the service, logs, and has the clock.
    :param parameters: of the node.
    :param queries: hold the query for requests without labels.
    :param cameras: have the newest images for requests without an image.
    :param transforms: of the node, for images that are sent with depth.
    :param worker: processes the image.
    :param inference: runs the networks.
    """

    def __init__(
        self,
        node: Node,
        parameters: NodeParameters,
        queries: Queries,
        cameras: CameraSet,
        transforms: Transforms,
        worker: NewestWorker,
        inference: Inference,
    ) -> None:
        self._parameters, self._queries, self._cameras = parameters, queries, cameras
        self._transforms, self._worker = transforms, worker
        self._inference, self._tally = inference, inference.tally
        self._clock, self._logger = node.get_clock(), node.get_logger()
        # A call waits for the worker, so it must not keep the executor's thread.
        group = SideThreadGroup()
        node.create_service(Segment, "~/segment", self._on_call, callback_group=group)

    def _on_call(self, request: Segment.Request, response: Segment.Response) -> Segment.Response:
        self._tally.count("segment calls")
        try:
            message = self._image(request)
            paired = self._paired(request, message)
            query = requested_query(request, self._queries.active, self._clock.now().to_msg())
            frame = run_on_worker(self._worker, partial(self._process, message, query, paired))
            response.result = messages.segment_array(
                frame.result, frame.header, frame.query, frame.space
            )
            response.success = True
            response.message = f"{len(response.result.segments)} segments"
            self._tally.count("segment calls answered")
        except Exception as error:
            response.message = str(error)
            self._tally.count("segment calls refused")
            if not isinstance(error, ClipSurgeryError):
                self._logger.error(f"~/segment failed: {traceback.format_exc()}")
        return response

    def _image(self, request: Segment.Request) -> CameraImage:
        """Return the image of a request, or the newest of its camera.

        :raises ImageError: when there is none.
        """
        has_image = request.image.data or request.image.encoding
        return request.image if has_image else self._cameras.newest_image(request.camera)

    def _paired(
        self, request: Segment.Request, message: CameraImage
    ) -> Callable[[], Paired] | None:
        """Return how to get what belongs to the image in space; None where that is not wanted."""
        config = self._parameters.config
        if message is request.image:
            if not request.depth.data:
                return None
            sent = request.depth, request.camera_info
            return sent_along(message.header, *sent, config, self._transforms).wait
        depth = self._cameras.named(request.camera).depth
        return None if depth is None else depth.pair(message.header, config).wait

    def _process(
        self, message: CameraImage, query: ActiveQuery, paired: Callable[[], Paired] | None
    ) -> Frame:
        """On the worker's thread: compute the result of an image, with all that there is."""
        image_rgb = self._inference.to_rgb(message)
        config = self._parameters.config
        frame = self._inference.run(image_rgb, message.header, query, Wanted(), config)
        return frame if paired is None else self._inference.locate(frame, paired(), config)


def run_on_worker(worker: NewestWorker, work: Callable[[], Frame]) -> Frame:
    """Run something on the worker's thread, in turn with the cameras' frames, and wait for it.

    :raises ClipSurgeryError: when the worker is not running, or is stopped before the turn comes.
    :raises Exception: what ``work`` raises.
    """
    result: Future[Frame] = Future()

    def refuse() -> None:
        result.set_exception(ClipSurgeryError("the node was deactivated; activate it first"))

    job = Job(
        run=lambda: result.set_result(work()),
        failed=lambda error, _: result.set_exception(error),
        dropped=refuse,
    )
    if not worker.offer(result, job):
        refuse()
    return result.result()


def requested_query(request: Segment.Request, active: ActiveQuery, stamp: Time) -> ActiveQuery:
    """Return the query with a request's labels, or the query in force for a request without.

    :param active: the query in force.
    :param stamp: for the message of a new query.
    :raises QueryError: when there are no labels, or they cannot be used.
    """
    if not request.labels:
        if not active.query.labels:
            raise QueryError("there is no query; send labels or set a query")
        return active
    query = query_of(request.labels, request.thresholds)
    if not query.labels:
        raise QueryError("the labels are empty; send names of things")
    return ActiveQuery(query, messages.query_message(query, stamp))


def open_enable_service(node: Node, frames: FrameHandler) -> None:
    """Open the service ``~/enable``, which switches the processing of images on and off."""

    def on_call(request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        frames.enabled = request.data
        response.success = True
        response.message = "frames are answered" if request.data else "frames are skipped"
        return response

    node.create_service(SetBool, "~/enable", on_call)
