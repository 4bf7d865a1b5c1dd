"""The services ``~/locate`` and ``~/reset_tracks``, about objects that are remembered."""

from __future__ import annotations

from rclpy.node import Node
from std_srvs.srv import Trigger

from clip_surgery_ros.node.tracking import Tracking
from clip_surgery_ros.ros.parameters import NodeParameters
from clip_surgery_ros.ros.track_messages import track_message
from clip_surgery_ros.srv import Locate
from clip_surgery_ros.tracks.types import Remembered, TrackState

OFF = "tracking is off, so nothing is remembered; deactivate the node, set tracking to true and "
OFF += "activate it again"
MOST_NAMES = 10
"""Ids that a message lists at most."""


def open_track_services(node: Node, parameters: NodeParameters, tracking: Tracking) -> None:
    """Open the services ``~/locate`` and ``~/reset_tracks``."""

    def on_locate(request: Locate.Request, response: Locate.Response) -> Locate.Response:
        if not parameters.config.tracking:
            response.message = OFF
            return response
        found = tracking.locate(request.name.strip())
        response.success = bool(found.tracks)
        response.tracks = [track_message(track, found) for track in found.tracks]
        response.message = describe(found) if found.tracks else _unknown(request.name, tracking)
        return response

    def on_reset(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not parameters.config.tracking:
            response.message = OFF
            return response
        response.success = True
        response.message = (
            f"{tracking.reset()} objects are forgotten; their ids are not used again"
        )
        return response

    node.create_service(Locate, "~/locate", on_locate)
    node.create_service(Trigger, "~/reset_tracks", on_reset)


def describe(found: Remembered) -> str:
    """Return what was found, for people: the state of the object seen last."""
    first, *others = found.tracks
    more = f", and {len(others)} more" if others else ""
    return f"{_state(first)}{more}"


def _state(track: TrackState) -> str:
    reason = f": {track.reason}" if track.reason else ""
    state = track.state.value.replace("_", " ")
    return (
        f"{track.id} is {state}, last seen {track.unseen_s:.1f} s before the newest image{reason}"
    )


def _unknown(name: str, tracking: Tracking) -> str:
    """Return that nothing of a name is remembered, and what is."""
    ids = [track.id for track in tracking.locate("").tracks]
    if not ids:
        return "nothing is remembered"
    shown = ", ".join(ids[:MOST_NAMES]) + (", ..." if len(ids) > MOST_NAMES else "")
    return f"nothing called {name[:80]!r} is remembered; remembered are {shown}"
