"""The lifecycle node: camera frames and a text query in, segments and heatmaps out.

Configure loads the networks, activate starts, deactivate stops and joins, cleanup releases. All
inference runs on one worker thread on each camera's newest frame; the executor's callbacks only
hand over.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from numpy.typing import NDArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header
from std_srvs.srv import SetBool

from clip_surgery_ros.core.errors import ClipSurgeryError, ImageError, QueryError
from clip_surgery_ros.core.query import query_of
from clip_surgery_ros.core.text import TextCounts, beyond_latin
from clip_surgery_ros.core.types import FrameResult, Query, Wanted
from clip_surgery_ros.core.vocabulary import Vocabulary
from clip_surgery_ros.parameters.cameras import parse_cameras
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.ros import messages, qos
from clip_surgery_ros.ros.camera import Camera, CameraImage
from clip_surgery_ros.ros.complaints import (
    another_clock,
    are_recorded,
    depth,
    foreign_to_demo,
)
from clip_surgery_ros.ros.diagnostics import CameraHealth, NodeHealth, diagnostic_array
from clip_surgery_ros.ros.endpoints import Publishers, publishers_of
from clip_surgery_ros.ros.executor import SideThreadGroup
from clip_surgery_ros.ros.images import compressed_to_rgb, image_to_rgb
from clip_surgery_ros.ros.logs import NodeLog
from clip_surgery_ros.ros.newest_worker import Job, NewestWorker
from clip_surgery_ros.ros.outputs import Frame, wanted_work
from clip_surgery_ros.ros.parameters import NodeParameters, mistakes_told, same_networks
from clip_surgery_ros.ros.queries import MOST_REMARKS, ActiveQuery, Queries
from clip_surgery_ros.ros.tally import Tally
from clip_surgery_ros.srv import Segment

REPEAT_S = 5.0
"""The same complaint about a camera's frames is logged at most this often, in seconds."""
HEALTH_PERIOD_S = 1.0
"""Diagnostics are told this often; aggregators call a status stale after 5 seconds."""
FRAME_COUNTS = (
    *("in", "answered", "failed", "dropped", "skipped: nothing asked", "skipped: nobody reads"),
    *("skipped: switched off", "skipped: rate limit", "skipped: too old", "lost on the way"),
)
"""What becomes of frames: each that came in is in work, waits, or is one of the others but the
last, which never came in.
"""
FRAME_SPREADS = ("age on arrival", "answered", "age")
"""Seconds told of frames: from stamp to arrival, of work, and from stamp to answer."""


class Engine(Protocol):
    """What answers a frame: ``core.pipeline.Pipeline``, or a test's own."""

    def run(self, image_rgb: NDArray[np.uint8], query: Query, wanted: Wanted) -> FrameResult:
        """(H, W, 3) uint8 RGB and a query to everything wanted of the frame."""


class Networks(Protocol):
    """What configuring loads: ``networks.factory.LoadedNetworks``, or a test's own."""

    @property
    def device(self) -> str:
        """Where they run, for people."""

    @property
    def precision(self) -> str:
        """In which arithmetic, for people."""

    @property
    def sources(self) -> str:
        """Which networks these are, and of which files, for people."""

    @property
    def know_demo_only(self) -> bool:
        """Whether they are the demo's, which know generated scenes only."""

    @property
    def fell_back(self) -> bool:
        """Whether CUDA was asked for and the CPU is used."""

    @property
    def multilingual(self) -> bool:
        """Whether labels may be in other scripts than the Latin."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The names that CLIP knows, where it does not know language at large."""

    @property
    def text_counts(self) -> TextCounts:
        """How many texts went through the text tower, and how many came from the cache."""

    def pipeline(self, config: Config) -> Engine:
        """These networks under the live parameters of ``config``; cheap."""


NetworkLoader = Callable[[Config], Networks]
"""Slow: loads the networks that a configuration names."""


class ClipSurgeryNode(LifecycleNode):
    """Lifecycle node ``clip_surgery``.

    Calls of ``~/segment`` wait for the networks in a callback group of their own: give the node
    a ``SideThreadExecutor``, or such a call keeps the other callbacks waiting.

    :param load: loads the networks when the node is configured.
    :param release: called when the networks were let go of, to give their memory back.
    :param options: as for rclpy's nodes, such as ``context`` or ``parameter_overrides``.
    :raises ConfigError: when the parameters it is started with cannot be used.
    """

    def __init__(
        self, load: NetworkLoader, release: Callable[[], None] = lambda: None, **options: Any
    ) -> None:
        with mistakes_told():
            super().__init__("clip_surgery", **options)
        self._load, self._release_memory = load, release
        self._loaded: tuple[Config, Networks] | None = None
        self._engine: tuple[Config, Engine] | None = None
        self._cameras: tuple[Camera, ...] = ()
        self._worker = NewestWorker()
        self._active = False
        self._enabled = True
        self._leaving = False
        self._said_no_query = False
        self._last_error = ""
        self._said: list[str] = []
        self.tally = Tally()
        """Runs of each stage and calls of ``~/segment``, since the networks were loaded."""
        self._log = NodeLog(self.get_logger())
        self._guard_transitions()
        self._node_parameters = NodeParameters(self, lambda: self._active, self._on_parameters)
        self._queries = Queries(
            self, lambda: self._config.presence_threshold, self._remarks, self._on_query
        )
        self._health = qos.open_publisher(self, DiagnosticArray, "/diagnostics", qos.result())
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_service(
            Segment,
            "~/segment",
            self._on_segment,
            callback_group=SideThreadGroup(),
        )
        # Simulated time may stand still; the health of the node is told all the same.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(HEALTH_PERIOD_S, self._publish_health, clock=steady)
        self._queries.ask(self._config.default_query)

    @property
    def wants_autostart(self) -> bool:
        """Whether the parameters ask the node to configure and activate itself."""
        return self._config.autostart

    @property
    def cameras(self) -> tuple[Camera, ...]:
        """The cameras served, with what became of their frames; none before configuring."""
        return self._cameras

    @property
    def _config(self) -> Config:
        return self._node_parameters.config

    # Lifecycle

    def autostart(self) -> bool:
        """Configure and activate, where no lifecycle manager does.

        :return: whether the node is active now; the log says why not.
        """
        success = TransitionCallbackReturn.SUCCESS
        configured = self.trigger_configure() == success
        return bool(configured and self.trigger_activate() == success)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the networks and open the result topics."""
        return self._attempt("configure", self._configure, self._release)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker and listen to the cameras."""
        return self._attempt("activate", self._activate, self._deactivate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening, finish the frame in work and join the worker."""
        return self._attempt("deactivate", self._deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the result topics and let go of the networks."""
        return self._attempt("clean up", self._release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and let go of everything, from any state."""
        return self._attempt("shut down", self._release)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured, with nothing held."""
        return self._attempt("recover from the error", self._release)

    def leave(self) -> None:
        """Shut down and be destroyed for the end of the process: a frame in work is left."""
        self._leaving = True
        self._worker.stop(wait=False)
        with suppress(RuntimeError):  # RCLError is one: in the middle of a transition
            self.trigger_shutdown()
        self.destroy_node()

    def destroy_node(self) -> None:
        """Join the worker before rclpy takes the node apart."""
        self._release()
        self._log.close()
        super().destroy_node()
        # Which rclpy leaves, and with it the middleware's participant and shared memory.
        self._state_machine.destroy_when_not_in_use()

    def _attempt(
        self, name: str, work: Callable[[], None], undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        """Run a transition; rclpy would swallow its exception without a word."""
        try:
            work()
            self._last_error = ""
            return TransitionCallbackReturn.SUCCESS
        except Exception as error:
            complaint = f"cannot {name}: {error}"
            self.get_logger().error(f"cannot {name}: {_told(error, traceback.format_exc())}")
        undone = self._attempt(f"undo {name}", undo) if undo else TransitionCallbackReturn.ERROR
        self._last_error = complaint
        success = undone == TransitionCallbackReturn.SUCCESS
        return TransitionCallbackReturn.FAILURE if success else TransitionCallbackReturn.ERROR

    def _configure(self) -> None:
        self._load_networks()
        self._open_cameras()

    def _activate(self) -> None:
        networks = self._load_networks()
        self._open_cameras()
        self._said_no_query = False
        self._worker.start()
        for camera in self._cameras:
            camera.listen(self._config.image_transport, self._on_image)
        self._active = True
        topics = ", ".join(camera.image_topic for camera in self._cameras)
        self.get_logger().info(f"active on {networks.device}; images from {topics}")

    def _deactivate(self) -> None:
        self._active = False
        for camera in self._cameras:
            camera.ignore()
        self._worker.stop()

    def _release(self) -> None:
        self._deactivate()
        self._close_cameras()
        self._drop_networks()

    def _open_cameras(self) -> None:
        """Open the result topics of every camera that the parameters name, unless they are."""
        topics = parse_cameras(self._config.image_topics)
        if topics != tuple(camera.topic for camera in self._cameras):
            self._close_cameras()
            self._cameras = tuple(Camera(self, topic) for topic in topics)

    def _close_cameras(self) -> None:
        for camera in self._cameras:
            camera.close()
        self._cameras = ()

    def _load_networks(self) -> Networks:
        """Load what the parameters name, unless it is loaded already."""
        config = self._config
        if self._loaded is not None and same_networks(config, self._loaded[0]):
            return self._loaded[1]
        self._drop_networks()  # first: two pairs may not fit into memory
        start = time.monotonic()
        networks = _on_a_passing_thread(partial(self._load, config))
        self._loaded = (config, networks)
        self.tally.reset()
        self.get_logger().info(
            f"networks loaded in {time.monotonic() - start:.1f} s on {networks.device} in "
            f"{networks.precision}: {networks.sources}"
        )
        if networks.fell_back:
            self.get_logger().warning(
                f"device {config.device} is not there; allow_cpu_fallback: running on the CPU"
            )
        self._queries.tell_remarks()
        return networks

    def _drop_networks(self) -> None:
        self._loaded = self._engine = None
        if not self._leaving:  # the process gives it all back
            self._release_memory()

    def _guard_transitions(self) -> None:
        """Refuse a transition that the state does not have; rclpy lets it end the process."""
        service = self._service_change_state
        change = service.callback

        def guarded(
            request: ChangeState.Request, response: ChangeState.Response
        ) -> ChangeState.Response:
            try:
                return change(request, response)
            except RuntimeError as error:  # RCLError is one
                self.get_logger().warning(f"transition refused: {error}")
                response.success = False
                return response

        service.callback = guarded

    # Frames

    def _on_image(self, camera: Camera, message: CameraImage) -> None:
        """Hand the frame over; the executor never waits for inference."""
        camera.age_s = self._age_s(message.header)
        camera.took("age on arrival", camera.age_s)
        reason = self._reason_to_skip(camera)
        if reason:
            camera.tally.count(f"skipped: {reason}")
            return
        job = Job(
            run=partial(self._answer, camera, message),
            failed=partial(self._complain, camera),
            dropped=partial(camera.tally.count, "dropped"),
        )
        if not self._worker.offer(camera, job):
            job.dropped()

    def _reason_to_skip(self, camera: Camera) -> str:
        """Why a frame that arrived shall not be answered; empty when it shall."""
        if not self._queries.active.query.labels:
            if not self._said_no_query:
                self._said_no_query = True
                self.get_logger().info("images arrive and nothing is asked for: no work is done")
            return "nothing asked"
        if not self._enabled:
            return "switched off"
        if not camera.subscribed():
            return "nobody reads"
        return "" if camera.rate.is_due(self._config.max_rate_hz) else "rate limit"

    def _answer(self, camera: Camera, message: CameraImage) -> None:
        """On the worker's thread: everything from the image message to the results.

        When the key of the mask has changed meanwhile, the frame is answered again under the
        query then in force, which is cheap: networks know an image that they have just seen.
        """
        start_s = time.perf_counter()
        reason = self._reason_to_drop(camera, message)
        image_rgb = None if reason else self._rgb_of(message)
        while image_rgb is not None and not reason:
            if self._published(camera, message.header, image_rgb):
                break
            stopped = not self._worker.running
            reason = "dropped" if stopped else self._reason_to_drop(camera, message)
        if reason:
            camera.tally.count(reason)
            return
        camera.last_error = ""
        camera.tally.took("answered", time.perf_counter() - start_s)
        camera.took("age", self._age_s(message.header))

    def _reason_to_drop(self, camera: Camera, message: CameraImage) -> str:
        """What becomes of a frame instead of an answer now that its turn has come; else empty."""
        # Asked again: much may have changed since the frame arrived.
        if not camera.subscribed():
            return "skipped: nobody reads"
        if not self._queries.active.query.labels:
            return "skipped: nothing asked"
        age_s = self._age_s(message.header)
        is_old = age_s is not None and 0 < self._config.max_frame_age_s < age_s
        return "skipped: too old" if is_old else ""

    def _published(self, camera: Camera, header: Header, image_rgb: NDArray[np.uint8]) -> bool:
        """Answer a frame and publish what is read of it; False when the key changed meanwhile."""
        outputs, active, config = camera.subscribed(), self._queries.active, self._config
        wanted = wanted_work(outputs)
        if wanted is None or not active.query.labels:
            return False
        frame = self._frame(image_rgb, header, active, wanted, config)
        asked = replace(active, threshold=config.presence_threshold)
        seconds = camera.publish(
            outputs, frame, lambda publish: self._queries.publish_under(asked, publish)
        )
        for name, value in seconds.items():
            self.tally.took(f"publish {name}", value)
        return bool(seconds)

    def _rgb_of(self, message: CameraImage) -> NDArray[np.uint8]:
        """Convert an image to (H, W, 3) uint8 RGB.

        :raises ImageError: when it cannot be used.
        """
        start_s = time.perf_counter()
        compressed = isinstance(message, CompressedImage)
        image_rgb = compressed_to_rgb(message) if compressed else image_to_rgb(message)
        self.tally.took("convert", time.perf_counter() - start_s)
        return image_rgb

    def _frame(
        self,
        image_rgb: NDArray[np.uint8],
        header: Header,
        active: ActiveQuery,
        wanted: Wanted,
        config: Config,
    ) -> Frame:
        """Answer an image under a query and parameters."""
        result = self._engine_of(config).run(image_rgb, active.query, wanted)
        for name, seconds in result.stage_seconds.items():
            self.tally.took(name, seconds)
        return Frame(result, image_rgb, header, active.message)

    def _engine_of(self, config: Config) -> Engine:
        """The networks under these parameters."""
        if self._engine is None or self._engine[0] is not config:
            self._engine = (config, self._load_networks().pipeline(config))
        return self._engine[1]

    def _age_s(self, header: Header) -> float | None:
        """Seconds since the image's stamp; None without one, or before simulated time began."""
        # Not rclpy's Time, which refuses stamps before 1970.
        stamp_ns = header.stamp.sec * 10**9 + header.stamp.nanosec
        now_ns = self.get_clock().now().nanoseconds
        return (now_ns - stamp_ns) / 1e9 if stamp_ns and now_ns else None

    def _complain(self, camera: Camera, error: Exception, text: str) -> None:
        """On the worker's thread: a frame failed. Said at once, and repeated seldom."""
        if self._leaving or not self.context.ok():
            return  # ROS was shut down in the middle of a frame: nothing is wrong with it
        is_new = str(error) != camera.last_error
        last_s = camera.tally.seconds_since("complaint")
        camera.last_error = str(error) or type(error).__name__
        camera.tally.count("failed")
        if is_new or last_s is None or last_s >= REPEAT_S:
            camera.tally.count("complaint")
            self.get_logger().error(f"frame not answered: {_told(error, text)}")

    # Services and parameters

    def _on_segment(
        self, request: Segment.Request, response: Segment.Response
    ) -> Segment.Response:
        """Answer one image between the frames of the stream."""
        self.tally.count("segment calls")
        try:
            message = self._image_of(request)
            active = self._query_of(request)
            frame = self._in_turn(partial(self._answer_call, message, active))
            response.result = messages.segment_array(frame.result, frame.header, frame.query)
            response.success = True
            response.message = f"{len(response.result.segments)} segments"
            self.tally.count("segment calls answered")
        except Exception as error:
            response.message = str(error)
            self.tally.count("segment calls refused")
            if not isinstance(error, ClipSurgeryError):
                self.get_logger().error(f"~/segment failed: {traceback.format_exc()}")
        return response

    def _answer_call(self, message: CameraImage, active: ActiveQuery) -> Frame:
        """On the worker's thread: the answer to a call, which has its query in it."""
        image_rgb = self._rgb_of(message)
        return self._frame(image_rgb, message.header, active, Wanted(), self._config)

    def _in_turn(self, work: Callable[[], Frame]) -> Frame:
        """Run on the worker's thread, in turn with the cameras, and wait for it."""
        answer: Future[Frame] = Future()

        def stopped() -> None:
            answer.set_exception(ClipSurgeryError("the node was deactivated; activate it first"))

        job = Job(
            run=lambda: answer.set_result(work()),
            failed=lambda error, _: answer.set_exception(error),
            dropped=stopped,
        )
        if not self._worker.offer(answer, job):
            stopped()
        return answer.result()

    def _image_of(self, request: Segment.Request) -> CameraImage:
        """The image of a request: its own, or its camera's newest.

        :raises ImageError: when there is none.
        """
        if request.image.data or request.image.encoding:
            return request.image
        by_name = {camera.topic.name: camera for camera in self._cameras}
        camera = by_name.get(request.camera)
        if len(self._cameras) == 1 and not request.camera:
            camera = self._cameras[0]
        if camera is None:
            known = ", ".join(sorted(name for name in by_name if name)) or "a single one, no name"
            raise ImageError(
                f"there is no camera {request.camera[:80]!r}; the cameras are: {known}"
            )
        if camera.newest is None:
            raise ImageError(f"no image has arrived on {camera.image_topic} yet; send one along")
        return camera.newest

    def _query_of(self, request: Segment.Request) -> ActiveQuery:
        """The labels of a request, or the query in force.

        :raises QueryError: when there are none, or they cannot be used.
        """
        if not request.labels:
            active = self._queries.active
            if not active.query.labels:
                raise QueryError("nothing is asked for; send labels along or set a query")
            return active
        query = query_of(request.labels, request.thresholds)
        if not query.labels:
            raise QueryError("the labels are empty; send names of things")
        return ActiveQuery(query, messages.query_message(query, self.get_clock().now().to_msg()))

    def _on_query(self) -> None:
        self._said_no_query = False
        if self._loaded:
            for said in self._loaded[1].vocabulary.reading_notes(self._queries.active.query)[
                :MOST_REMARKS
            ]:
                self.get_logger().info(said)

    def _remarks(self, query: Query) -> list[str]:
        """What the networks, if they are loaded, do not know of a query."""
        return self._loaded[1].vocabulary.unknown_notes(query) if self._loaded else []

    def _on_parameters(self, config: Config, changed: frozenset[str]) -> None:
        """Live parameters take effect with the next frame, a new default query at once."""
        if "default_query" in changed:
            self._queries.ask(config.default_query)
        if "presence_threshold" in changed:
            self._queries.take_threshold()

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        response.success = True
        response.message = "frames are answered" if request.data else "frames are left alone"
        return response

    # Health

    def _publish_health(self) -> None:
        stamp = self.get_clock().now().to_msg()
        cameras = [self._camera_health(camera) for camera in self._cameras]
        node = self._node_health()
        self._health.publish(diagnostic_array(node, cameras, stamp))
        said = [*node.complaints]
        for one in cameras:
            said += filter(None, [*one.complaints, one.remark])
        for sentence in said:
            if sentence not in self._said:
                self.get_logger().warning(sentence)
        self._said = said

    def _node_health(self) -> NodeHealth:
        networks, query = self._loaded[1] if self._loaded else None, self._queries.active.query
        texts = networks.text_counts if networks else TextCounts()
        foreign = (
            [] if not networks or networks.multilingual else filter(beyond_latin, query.names)
        )
        return NodeHealth(
            name=self.get_fully_qualified_name(),
            config=self._config,
            state=self._state_machine.current_state[1],
            device=networks.device if networks else "",
            precision=networks.precision if networks else "",
            fell_back=bool(networks and networks.fell_back),
            query=query,
            unreadable=tuple(foreign),
            unknown=tuple(self._remarks(query)),
            too_long=tuple(name for name in query.names if any(one in name for one in texts.cut)),
            complaints=tuple(self._complaints_of_topics()),
            refused=self._queries.refused,
            refusal=self._queries.last_refusal,
            texts=texts,
            counts=self.tally.counts,
            spreads=self.tally.spreads(),
            last_error=self._last_error,
        )

    def _complaints_of_topics(self) -> Iterator[str]:
        """What keeps queries, and the time, from arriving."""
        if self.get_parameter("use_sim_time").value and not self.count_publishers("/clock"):
            yield (
                "use_sim_time is true and nobody publishes /clock, so time stands still; play the "
                "bag with --clock, or set use_sim_time to false"
            )
        for read in self._queries.inputs:
            publishers = publishers_of(self, read)
            if publishers.unheard:
                yield publishers.unheard
            if publishers.keeps_last and not self._queries.active.query.labels:
                yield (
                    f"a query that was latched on {read.topic_name} before this node came is not "
                    "heard; publish it again"
                )

    def _complaints_of(self, camera: Camera, publishers: Publishers) -> list[str]:
        """What is wrong with how a camera's images come."""
        topic, newest = camera.image_topic, camera.newest
        clock = self._clock_of(camera)
        demo = self._loaded is not None and self._loaded[1].know_demo_only
        said = (
            publishers.unheard,
            depth(topic, newest),
            "" if are_recorded(camera.age_s, self._config.max_frame_age_s) else clock,
            foreign_to_demo(topic, newest) if demo else "",
        )
        return [one for one in said if one]

    def _clock_of(self, camera: Camera) -> str:
        """Whether another clock stamps a camera's images; empty when not."""
        return another_clock(camera.image_topic, camera.age_s, self._config.max_frame_age_s)

    def _camera_health(self, camera: Camera) -> CameraHealth:
        tally, spreads = camera.tally, camera.tally.spreads()
        publishers = camera.publishers()
        complaints = self._complaints_of(camera, publishers)
        silent_s = tally.seconds_since("in") or tally.seconds_since("listening") or 0.0
        return CameraHealth(
            name=camera.topic.name,
            topic=camera.image_topic,
            listening=self._active,
            publishers=publishers.heard,
            complaints=complaints,
            remark="" if complaints else self._clock_of(camera),
            image=_described(camera.newest),
            silent_s=silent_s,
            rates_hz={name: tally.rate_hz(name) for name in ("in", "answered")},
            counts={name: tally.counts[name] for name in FRAME_COUNTS},
            lately={name: tally.lately(name) for name in ("in", "lost on the way")},
            spreads={name: spreads[name] for name in FRAME_SPREADS if name in spreads},
            last_error=camera.last_error,
        )


def _on_a_passing_thread(load: Callable[[], Networks]) -> Networks:
    """Load on a thread that ends with it.

    Every thread that computes keeps threads of OpenMP's waiting for it, and where there are more
    of them than cores they hand over more slowly: SAM's decoder took a fifth longer on the worker
    after the networks had been loaded on the main thread.
    """
    with ThreadPoolExecutor(1, "loader") as threads:
        return threads.submit(load).result()


def _described(image: CameraImage | None) -> str:
    """An image for people."""
    if image is None:
        return "none yet"
    if isinstance(image, CompressedImage):
        return f"{image.format[:80]}, {len(image.data)} bytes"
    return f"{image.width} x {image.height} {image.encoding[:80]}"


def _told(error: Exception, text: str) -> str:
    """An error for the log: a sentence where it was raised on purpose, else the traceback.

    rclpy's logger refuses ``exc_info``, so the traceback goes in as text.
    """
    return str(error) if isinstance(error, ClipSurgeryError) else text
