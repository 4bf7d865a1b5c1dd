"""All cameras of the node, opened, used and closed together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from clip_surgery_ros.core.errors import ImageError
from clip_surgery_ros.parameters.cameras import CameraTopic
from clip_surgery_ros.ros.camera import Camera, CameraImage


class CameraSet:
    """The cameras that the node serves; none while it is unconfigured.

    :param make_camera: opens the result topics of a camera.
    """

    def __init__(self, make_camera: Callable[[CameraTopic], Camera]) -> None:
        self._make_camera = make_camera
        self.all: tuple[Camera, ...] = ()

    def __iter__(self) -> Iterator[Camera]:
        return iter(self.all)

    def open(self, topics: tuple[CameraTopic, ...]) -> None:
        """Open the result topics of these cameras; does nothing when they are open already."""
        if topics != tuple(camera.topic for camera in self.all):
            self.close()
            self.all = tuple(self._make_camera(topic) for topic in topics)

    def listen(self, transport: str, on_image: Callable[[Camera, CameraImage], None]) -> None:
        """Subscribe to the images of all cameras.

        :param transport: ``raw`` or ``compressed``.
        :param on_image: called with each image and its camera.
        """
        for camera in self.all:
            camera.listen(transport, on_image)

    def stop_listening(self) -> None:
        """Close the image topics of all cameras."""
        for camera in self.all:
            camera.stop_listening()

    def close(self) -> None:
        """Close all topics of all cameras."""
        for camera in self.all:
            camera.close()
        self.all = ()

    def named(self, name: str) -> Camera:
        """Return the camera of this name.

        :param name: may be empty where there is one camera.
        :raises ImageError: when there is no such camera.
        """
        by_name = {camera.topic.name: camera for camera in self.all}
        camera = self.all[0] if len(self.all) == 1 and not name else by_name.get(name)
        if camera is None:
            known = ", ".join(sorted(filter(None, by_name))) or "a single one, without a name"
            raise ImageError(f"there is no camera {name[:80]!r}; the cameras are: {known}")
        return camera

    def newest_image(self, name: str) -> CameraImage:
        """Return the image that arrived last from the camera of this name.

        :param name: may be empty where there is one camera.
        :raises ImageError: when there is no such camera, or no image of it yet.
        """
        camera = self.named(name)
        if camera.newest_image is None:
            raise ImageError(f"no image has arrived on {camera.image_topic} yet; send one along")
        return camera.newest_image
