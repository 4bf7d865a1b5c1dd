"""The lifecycle node: camera frames and a text query in, segments and heatmaps out.

Configure loads the networks, activate starts, deactivate stops and joins, cleanup releases. All
inference runs on one worker thread on the newest frame; the executor's callbacks only hand over.
"""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String
from std_srvs.srv import SetBool
from vision_msgs.msg import LabelInfo

from clip_surgery_ros.adapters import messages, qos
from clip_surgery_ros.adapters.diagnostics import NodeHealth, diagnostic_array
from clip_surgery_ros.adapters.images import compressed_to_rgb, image_to_rgb
from clip_surgery_ros.adapters.outputs import OUTPUTS, Frame, Output, wanted_work
from clip_surgery_ros.adapters.parameters import NodeParameters, same_fixed
from clip_surgery_ros.core.config import Config
from clip_surgery_ros.core.errors import ClipSurgeryError, QueryError
from clip_surgery_ros.core.query import parse_query, query_of
from clip_surgery_ros.core.types import FrameResult, Query, Wanted
from clip_surgery_ros.msg import TextQuery
from clip_surgery_ros.newest_worker import NewestWorker
from clip_surgery_ros.srv import SetQuery

REPEAT_S = 5.0
"""The same complaint about frames is logged at most this often, in seconds."""


class Engine(Protocol):
    """What answers a frame: ``core.pipeline.Pipeline``, or a test's own."""

    def run(self, image_rgb: NDArray[np.uint8], query: Query, wanted: Wanted) -> FrameResult:
        """(H, W, 3) uint8 RGB and a query to everything wanted of the frame."""


class Networks(Protocol):
    """What configuring loads: ``backends.factory.LoadedNetworks``, or a test's own."""

    @property
    def device(self) -> str:
        """Where they run, for people."""

    def pipeline(self, config: Config) -> Engine:
        """These networks under the live parameters of ``config``; cheap."""


NetworkLoader = Callable[[Config], Networks]
"""Slow: loads the networks that a configuration names."""


@dataclass(frozen=True)
class ActiveQuery:
    """The query in force and its message, replaced together."""

    query: Query
    message: TextQuery


class ClipSurgeryNode(LifecycleNode):
    """Lifecycle node ``clip_surgery``.

    :param load: loads the networks when the node is configured.
    :param options: as for rclpy's nodes, such as ``context`` or ``parameter_overrides``.
    :raises ConfigError: when the parameters it is started with cannot be used.
    """

    def __init__(self, load: NetworkLoader, **options: Any) -> None:
        super().__init__("clip_surgery", **options)
        self._load = load
        self._loaded: tuple[Config, Networks] | None = None
        self._engine: tuple[Config, Engine] | None = None
        self._outputs: dict[Output, Publisher] = {}
        self._images: Subscription | None = None
        self._active = False
        self._enabled = True
        self._next_due_s = 0.0
        self._skipped = 0
        self._said_no_query = False
        self._last_error = ""
        self._last_complaint_s = 0.0
        self._latencies_s: deque[float] = deque(maxlen=200)
        self._worker: NewestWorker[Image | CompressedImage] = NewestWorker(
            self._answer, self._complain
        )
        self._guard_transitions()
        self._node_parameters = NodeParameters(self, lambda: self._active, self._on_parameters)
        self._active_query = ActiveQuery(Query(), TextQuery())
        self._open_controls()
        self._ask(lambda sequence: parse_query(self._config.default_query, sequence))

    @property
    def wants_autostart(self) -> bool:
        """Whether the parameters ask the node to configure and activate itself."""
        return self._config.autostart

    @property
    def _config(self) -> Config:
        return self._node_parameters.config

    def _open_controls(self) -> None:
        """Everything but images and results: there in every state."""
        self._echo = self.create_publisher(TextQuery, "~/active_query", qos.latched())
        self._label_info = self.create_publisher(LabelInfo, "~/label_info", qos.latched())
        self._health = self.create_publisher(DiagnosticArray, "/diagnostics", qos.result())
        self.create_subscription(String, "query", self._on_query, qos.query())
        self.create_subscription(TextQuery, "~/text_query", self._on_text_query, qos.query())
        self.create_service(SetQuery, "~/set_query", self._on_set_query)
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_timer(1.0, self._publish_health)

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
        """Start the worker and listen to the camera."""
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

    def destroy_node(self) -> None:
        """Join the worker before rclpy takes the node apart."""
        self._release()
        super().destroy_node()

    def _attempt(
        self, name: str, work: Callable[[], None], undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        """Run a transition; rclpy would swallow its exception without a word."""
        try:
            work()
            return TransitionCallbackReturn.SUCCESS
        except Exception as error:
            self._last_error = f"cannot {name}: {error}"
            self.get_logger().error(f"cannot {name}: {_told(error, traceback.format_exc())}")
        if undo is None:
            return TransitionCallbackReturn.ERROR
        undone = self._attempt(f"undo {name}", undo)
        success = undone == TransitionCallbackReturn.SUCCESS
        return TransitionCallbackReturn.FAILURE if success else TransitionCallbackReturn.ERROR

    def _configure(self) -> None:
        self._load_networks()
        for output in OUTPUTS:
            self._outputs[output] = self.create_publisher(
                output.kind, f"~/{output.name}", output.quality()
            )

    def _activate(self) -> None:
        networks = self._load_networks()
        self._next_due_s, self._skipped, self._last_error = 0.0, 0, ""
        self._said_no_query = False
        self._worker.start()
        self._images = self._subscribe_images()
        self._active = True
        self.get_logger().info(
            f"active on {networks.device}; images from {self._images.topic_name}"
        )

    def _deactivate(self) -> None:
        self._active = False
        if self._images is not None:
            self.destroy_subscription(self._images)
            self._images = None
        self._worker.stop()

    def _release(self) -> None:
        self._deactivate()
        for publisher in self._outputs.values():
            self.destroy_publisher(publisher)
        self._outputs = {}
        self._loaded = self._engine = None

    def _load_networks(self) -> Networks:
        """Load what the parameters name, unless it is loaded already."""
        config = self._config
        if self._loaded is not None and same_fixed(config, self._loaded[0]):
            return self._loaded[1]
        # Let go of the old ones first: two pairs may not fit into memory.
        self._loaded = self._engine = None
        start = time.monotonic()
        networks = self._load(config)
        self._loaded = (config, networks)
        self.get_logger().info(
            f"networks loaded in {time.monotonic() - start:.1f} s on {networks.device}"
        )
        return networks

    def _subscribe_images(self) -> Subscription:
        if self._config.image_transport == "raw":
            return self.create_subscription(Image, "image_raw", self._on_image, qos.newest_image())
        # As image_transport does: below whatever name image_raw was remapped to.
        topic = self.resolve_topic_name("image_raw") + "/compressed"
        return self.create_subscription(CompressedImage, topic, self._on_image, qos.newest_image())

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

    # Queries

    def _on_query(self, message: String) -> None:
        self._ask_or_log(lambda sequence: parse_query(message.data, sequence))

    def _on_text_query(self, message: TextQuery) -> None:
        self._ask_or_log(lambda sequence: query_of(message.labels, message.thresholds, sequence))

    def _on_set_query(
        self, request: SetQuery.Request, response: SetQuery.Response
    ) -> SetQuery.Response:
        try:
            self._ask(lambda sequence: query_of(request.labels, request.thresholds, sequence))
            response.success = True
            response.message = _asked(self._active_query.query)
        except QueryError as error:
            response.message = f"query refused: {error}"
        response.sequence = self._active_query.query.sequence
        return response

    def _ask_or_log(self, make: Callable[[int], Query]) -> None:
        try:
            self._ask(make)
        except QueryError as error:
            self.get_logger().error(f"query refused, the one before stays: {error}")

    def _ask(self, make: Callable[[int], Query]) -> None:
        """Put a new query in force.

        :param make: makes it with the sequence number it shall have.
        :raises QueryError: when it cannot be used; the one before stays.
        """
        query = make(self._active_query.query.sequence + 1)
        stamp = self.get_clock().now().to_msg()
        self._active_query = ActiveQuery(query, messages.query_message(query, stamp))
        self._said_no_query = False
        self._echo.publish(self._active_query.message)
        self._label_info.publish(
            messages.label_info(query, stamp, self._config.presence_threshold)
        )
        self.get_logger().info(_asked(query))

    # Frames

    def _on_image(self, message: Image | CompressedImage) -> None:
        """Hand the frame over; the executor never waits for inference."""
        if not self._active_query.query.labels and not self._said_no_query:
            self._said_no_query = True
            self.get_logger().info("images arrive and nothing is asked for: no work is done")
        if self._is_work() and self._is_due():
            self._worker.offer(message)
        else:
            self._skipped += 1

    def _is_work(self) -> bool:
        return self._enabled and bool(self._active_query.query.labels and self.subscribed())

    def _is_due(self) -> bool:
        """Keep the rate; what one frame came late is given back to the next."""
        rate_hz = self._config.max_rate_hz
        now_s = time.monotonic()
        if rate_hz <= 0:
            return True
        late_s = now_s - self._next_due_s
        if late_s < 0:
            return False
        self._next_due_s = now_s + 1 / rate_hz - (late_s if late_s < 1 / rate_hz else 0.0)
        return True

    def subscribed(self) -> tuple[Output, ...]:
        """Results that somebody reads; the others are not computed."""
        return tuple(
            output
            for output, publisher in self._outputs.items()
            if publisher.get_subscription_count()
        )

    def _answer(self, message: Image | CompressedImage) -> None:
        """On the worker's thread: everything from the image message to the results."""
        start_s = time.monotonic()
        active, outputs = self._active_query, self.subscribed()
        wanted = wanted_work(outputs)
        if wanted is None or not active.query.labels or self._too_old(message.header):
            self._skipped += 1
            return
        compressed = isinstance(message, CompressedImage)
        image_rgb = compressed_to_rgb(message) if compressed else image_to_rgb(message)
        result = self._current_engine().run(image_rgb, active.query, wanted)
        frame = Frame(result, image_rgb, message.header, active.message)
        for output in outputs:
            self._outputs[output].publish(output.build(frame))
        self._latencies_s.append(time.monotonic() - start_s)
        self._last_error = ""

    def _current_engine(self) -> Engine:
        """The networks under the parameters as they are now."""
        config = self._config
        if self._engine is None or self._engine[0] is not config:
            self._engine = (config, self._load_networks().pipeline(config))
        return self._engine[1]

    def _too_old(self, header: Header) -> bool:
        """Whether the frame waited longer than allowed; an unset stamp has no age."""
        limit_s = self._config.max_frame_age_s
        stamp = Time.from_msg(header.stamp, clock_type=self.get_clock().clock_type)
        if limit_s <= 0 or stamp.nanoseconds == 0:
            return False
        return (self.get_clock().now() - stamp).nanoseconds > limit_s * 1e9

    def _complain(self, error: Exception, text: str) -> None:
        """On the worker's thread: a frame failed. Said at once, and repeated seldom."""
        if not self.context.ok():
            return  # ROS was shut down in the middle of a frame: nothing is wrong with it
        now_s = time.monotonic()
        is_new = str(error) != self._last_error
        self._last_error = str(error)
        if is_new or now_s - self._last_complaint_s >= REPEAT_S:
            self._last_complaint_s = now_s
            self.get_logger().error(f"frame not answered: {_told(error, text)}")

    # Everything else

    def _on_parameters(self, config: Config, changed: frozenset[str]) -> None:
        """Live parameters take effect with the next frame, a new default query at once."""
        if "default_query" in changed:
            self._ask_or_log(lambda sequence: parse_query(config.default_query, sequence))

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        response.success = True
        response.message = "frames are answered" if request.data else "frames are left alone"
        return response

    @property
    def health(self) -> NodeHealth:
        """How the node is, as ``/diagnostics`` tells it."""
        return NodeHealth(
            name=self.get_fully_qualified_name(),
            state=self._state_machine.current_state[1],
            device=self._loaded[1].device if self._loaded else "",
            query=self._active_query.query.names,
            counts=self._worker.counts,
            skipped=self._skipped,
            latencies_s=tuple(self._latencies_s),
            last_error=self._last_error,
        )

    def _publish_health(self) -> None:
        stamp = self.get_clock().now().to_msg()
        self._health.publish(diagnostic_array(self.health, stamp))


def _asked(query: Query) -> str:
    """A query for the log."""
    names = "; ".join(query.names) or "nothing"
    return f"query {query.sequence}: {names}"


def _told(error: Exception, text: str) -> str:
    """An error for the log: a sentence where it was raised on purpose, else the traceback.

    rclpy's logger refuses ``exc_info``, so the traceback goes in as text.
    """
    return str(error) if isinstance(error, ClipSurgeryError) else text
