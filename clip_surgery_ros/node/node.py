"""The lifecycle node: camera frames and a text query in, segments and heatmaps out.

Configure loads the networks, activate starts the worker, deactivate stops it, cleanup releases
the networks. One worker thread runs the networks, on each camera's newest frame; callbacks on the
executor's thread only hand frames to it. This class connects the parts:

- ``lifecycle.py``: what each transition does;
- ``networks.py``: loads and releases the networks;
- ``frames.py``: from a camera image to published results, with ``inference.py``;
- ``space.py``: where the objects of a frame are in space;
- ``tracking.py``: which object of a frame is which object of the frames before;
- ``services.py``: ``~/segment`` and ``~/enable``;
- ``track_services.py``: ``~/locate`` and ``~/reset_tracks``;
- ``health.py``: diagnostics.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Event
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from clip_surgery_ros.core.errors import DeviceLostError
from clip_surgery_ros.node.camera_set import CameraSet
from clip_surgery_ros.node.frames import FrameHandler
from clip_surgery_ros.node.health import HealthReporter
from clip_surgery_ros.node.inference import Inference
from clip_surgery_ros.node.lifecycle import Lifecycle, refuse_invalid_transitions
from clip_surgery_ros.node.networks import NetworkLoader, NodeNetworks
from clip_surgery_ros.node.services import SegmentService, open_enable_service
from clip_surgery_ros.node.track_services import open_track_services
from clip_surgery_ros.node.tracking import Tracking
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.ros.camera import Camera
from clip_surgery_ros.ros.logs import NodeLog
from clip_surgery_ros.ros.newest_worker import NewestWorker
from clip_surgery_ros.ros.parameters import NodeParameters, explain_parameter_errors
from clip_surgery_ros.ros.queries import MAX_NOTES, Queries
from clip_surgery_ros.ros.tally import Tally
from clip_surgery_ros.ros.transforms import transforms_of


class ClipSurgeryNode(LifecycleNode):
    """Lifecycle node ``clip_surgery``.

    Calls of ``~/segment`` wait for the networks in a callback group of their own. Spin the node
    with a ``SideThreadExecutor``; with other executors such a call blocks all other callbacks.

    To run it in a process of your own:

    >>> import rclpy
    >>> from clip_surgery_ros.networks.factory import load_networks
    >>> from clip_surgery_ros.ros.executor import SideThreadExecutor
    >>> rclpy.init()  # doctest: +SKIP
    >>> node, executor = ClipSurgeryNode(load_networks), SideThreadExecutor()  # doctest: +SKIP
    >>> node.autostart() and executor.add_node(node)  # doctest: +SKIP
    >>> executor.spin()  # doctest: +SKIP

    :param load: loads the networks when the node is configured.
    :param release: called after the networks were released, to return their memory to the system.
    :param on_device_lost: called, after it was logged, when the GPU computes nothing any more in
        this process. Frames fail until the process ends and another takes its place.
    :param options: options of rclpy's nodes, such as ``context`` or ``parameter_overrides``.
    :raises ConfigError: when the parameters it is started with cannot be used.
    """

    def __init__(
        self,
        load: NetworkLoader,
        release: Callable[[], None] = lambda: None,
        on_device_lost: Callable[[], None] = lambda: None,
        **options: Any,
    ) -> None:
        with explain_parameter_errors():
            super().__init__("clip_surgery", **options)
        self.tally = Tally()
        """Durations of each stage and calls of ``~/segment``, since the networks were loaded."""
        self._log = NodeLog(self.get_logger())
        self._leaving, self._end_after_loss = Event(), on_device_lost
        self._worker = NewestWorker()
        refuse_invalid_transitions(self)
        self._node_parameters = NodeParameters(
            self, lambda: self._worker.is_running, self._on_parameters
        )
        self._networks = NodeNetworks(
            load,
            # When the process ends, the system takes all memory back faster.
            lambda: None if self._leaving.is_set() else release(),
            self._on_networks_loaded,
            self.get_logger(),
        )
        self._queries = Queries(
            self,
            lambda: self._node_parameters.config.presence_threshold,
            self._networks.unknown_notes,
            self._on_query,
        )
        self._transforms = transforms_of(self)
        self._camera_set = CameraSet(partial(Camera, self, self._transforms))
        self._connect_parts()
        self._queries.set_text(self._node_parameters.config.default_query)

    def _connect_parts(self) -> None:
        parameters, queries, cameras = self._node_parameters, self._queries, self._camera_set
        inference = Inference(self._networks, self.tally, self._on_device_lost)
        tracking = Tracking(self.get_clock())
        self._frames = FrameHandler(
            self,
            parameters,
            queries,
            self._worker,
            inference,
            tracking,
            lambda: self._leaving.is_set() or not self.context.ok(),
        )
        self._lifecycle = Lifecycle(
            parameters,
            self._networks,
            cameras,
            self._transforms,
            self._worker,
            self._frames,
            self.get_logger(),
            self._on_device_lost,
        )
        open_enable_service(self, self._frames)
        open_track_services(self, parameters, tracking)
        SegmentService(
            self, parameters, queries, cameras, self._transforms, self._worker, inference
        )
        HealthReporter(
            self,
            parameters,
            self._networks,
            queries,
            cameras,
            self._lifecycle,
            self.tally,
            tracking,
        )

    @property
    def wants_autostart(self) -> bool:
        """Whether the parameters ask the node to configure and activate itself."""
        return self._node_parameters.config.autostart

    @property
    def cameras(self) -> tuple[Camera, ...]:
        """The cameras served, with what became of their frames; none before configuring."""
        return self._camera_set.all

    def autostart(self) -> bool:
        """Configure and activate, where no lifecycle manager does.

        :return: whether the node is active now; the log says why not.
        """
        success = TransitionCallbackReturn.SUCCESS
        configured = self.trigger_configure() == success
        return bool(configured and self.trigger_activate() == success)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the networks and open the result topics."""
        return self._lifecycle.configure()

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker and subscribe to the cameras."""
        return self._lifecycle.activate()

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe from the cameras, let the worker finish its frame, and stop it."""
        return self._lifecycle.deactivate()

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the result topics and release the networks."""
        return self._lifecycle.clean_up()

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release everything, from any state."""
        return self._lifecycle.shut_down()

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, so that the node is unconfigured again."""
        return self._lifecycle.recover()

    def leave(self) -> None:
        """Shut down and destroy the node because the process ends.

        The frame that the worker processes is abandoned, not waited for.
        """
        self._leaving.set()
        self._worker.stop(wait=False)
        with suppress(RuntimeError):  # RCLError is one: in the middle of a transition
            self.trigger_shutdown()
        self.destroy_node()

    def destroy_node(self) -> None:
        """Stop the worker and release everything, then destroy the node."""
        self._lifecycle.release()
        self._log.close()
        super().destroy_node()
        # rclpy leaves the state machine alive, and with it the middleware's participant and its
        # shared memory.
        self._state_machine.destroy_when_not_in_use()

    def _on_networks_loaded(self) -> None:
        self.tally.reset()
        self._queries.log_unknown_labels()

    def _on_device_lost(self, error: DeviceLostError) -> None:
        self.get_logger().fatal(f"{error}; this process ends, and its supervisor must restart it")
        self._end_after_loss()

    def _on_query(self) -> None:
        """After a new query: log how the networks read its names, where they differ."""
        self._frames.report_no_query_again()
        if networks := self._networks.loaded:
            notes = networks.vocabulary.reading_notes(self._queries.active.query)
            for note in notes[:MAX_NOTES]:
                self.get_logger().info(note)

    def _on_parameters(self, config: Config, changed: frozenset[str]) -> None:
        """Use a new default query or presence threshold at once.

        The other live parameters are read with the next frame.
        """
        if "default_query" in changed:
            self._queries.set_text(config.default_query)
        if "presence_threshold" in changed:
            self._queries.update_threshold()
