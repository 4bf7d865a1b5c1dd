"""What the node does in each lifecycle transition, and how a failed one is undone."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

from clip_surgery_ros.core.errors import DeviceLostError
from clip_surgery_ros.node.camera_set import CameraSet
from clip_surgery_ros.node.frames import FrameHandler, log_text
from clip_surgery_ros.node.networks import NodeNetworks
from clip_surgery_ros.ros.logs import RosLogger
from clip_surgery_ros.ros.newest_worker import NewestWorker
from clip_surgery_ros.ros.parameters import NodeParameters
from clip_surgery_ros.ros.transforms import Transforms


class Lifecycle:
    """Carries out the transitions. Each may run twice in a row.

    :param parameters: of the node.
    :param networks: loaded by configuring, released by cleaning up.
    :param cameras: their result topics are open while the node is configured, their image topics
        while it is active.
    :param transforms: listened to while the node is active, if places in space need them.
    :param worker: runs while the node is active.
    :param frames: gets the images.
    :param logger: of the node.
    :param on_device_lost: called when the GPU computes nothing any more in this process.
    """

    def __init__(
        self,
        parameters: NodeParameters,
        networks: NodeNetworks,
        cameras: CameraSet,
        transforms: Transforms,
        worker: NewestWorker,
        frames: FrameHandler,
        logger: RosLogger,
        on_device_lost: Callable[[DeviceLostError], None],
    ) -> None:
        self._on_device_lost = on_device_lost
        self._parameters, self._networks, self._cameras = parameters, networks, cameras
        self._transforms, self._worker = transforms, worker
        self._frames, self._logger = frames, logger
        self.last_error = ""
        """Why the last transition failed; empty when it succeeded."""

    @property
    def is_active(self) -> bool:
        """Whether the node processes images."""
        return self._worker.is_running

    def configure(self) -> TransitionCallbackReturn:
        """Load the networks and open the result topics."""
        return self._attempt("configure", self._configure, self.release)

    def activate(self) -> TransitionCallbackReturn:
        """Start the worker and subscribe to the cameras."""
        return self._attempt("activate", self._activate, self._deactivate)

    def deactivate(self) -> TransitionCallbackReturn:
        """Unsubscribe from the cameras, let the worker finish its frame, and stop it."""
        return self._attempt("deactivate", self._deactivate)

    def clean_up(self) -> TransitionCallbackReturn:
        """Close the result topics and release the networks."""
        return self._attempt("clean up", self.release)

    def shut_down(self) -> TransitionCallbackReturn:
        """Stop and release everything, from any state."""
        return self._attempt("shut down", self.release)

    def recover(self) -> TransitionCallbackReturn:
        """Release everything after an error, so that the node is unconfigured again."""
        return self._attempt("recover from the error", self.release)

    def release(self) -> None:
        """Stop and release everything."""
        self._deactivate()
        self._cameras.close()
        self._networks.release()

    def _configure(self) -> None:
        config = self._parameters.config
        self._networks.load(config)
        self._cameras.open(config.cameras)

    def _activate(self) -> None:
        config = self._parameters.config
        networks = self._networks.load(config)
        self._cameras.open(config.cameras)
        if config.target_frame and any(camera.topic.space for camera in self._cameras):
            self._transforms.listen()
        self._frames.begin(config)
        self._worker.start()
        self._cameras.listen(config.image_transport, self._frames.on_image)
        topics = ", ".join(camera.image_topic for camera in self._cameras)
        self._logger.info(f"active on {networks.device}; images from {topics}")

    def _deactivate(self) -> None:
        self._cameras.stop_listening()
        self._worker.stop()
        self._transforms.stop()

    def _attempt(
        self, name: str, work: Callable[[], None], undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        """Run a transition and log its error, which rclpy would swallow.

        :param undo: leads back to the state before when the transition failed.
        :return: SUCCESS; FAILURE when it failed and was undone; else ERROR.
        """
        try:
            work()
            self.last_error = ""
            return TransitionCallbackReturn.SUCCESS
        except Exception as error:
            message = f"cannot {name}: {error}"
            text = log_text(error, traceback.format_exc())
            self._logger.error(f"cannot {name}: {text}")
            if isinstance(error, DeviceLostError):
                self._on_device_lost(error)
        success = TransitionCallbackReturn.SUCCESS
        is_undone = undo is not None and self._attempt(f"undo {name}", undo) == success
        self.last_error = message
        return TransitionCallbackReturn.FAILURE if is_undone else TransitionCallbackReturn.ERROR


def refuse_invalid_transitions(node: LifecycleNode) -> None:
    """Answer a transition that the state does not allow with a refusal.

    Without this, rclpy raises an error that ends the process.
    """
    service = node._service_change_state
    change_state = service.callback

    def guarded(
        request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        try:
            return change_state(request, response)
        except RuntimeError as error:  # the base class of RCLError
            node.get_logger().warning(f"transition refused: {error}")
            response.success = False
            return response

    service.callback = guarded
