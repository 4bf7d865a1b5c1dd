"""Serve several cameras: ``ros2 launch clip_surgery_ros cameras.launch.py cameras:="..."``.

They share one node with one copy of the networks, which processes the cameras' newest frames in
turn; or, with ``separate:=true``, each has a node, networks and a query of its own.
"""

from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.conditions import IfCondition, UnlessCondition
from launch.substitutions import LaunchConfiguration

from clip_surgery_ros.parameters.cameras import parse_cameras
from launch import LaunchContext, LaunchDescription

CAMERAS = LaunchConfiguration("cameras")
SEPARATE = LaunchConfiguration("separate")


def clip_surgery(condition=None, **arguments) -> IncludeLaunchDescription:
    """Include the launch file of one node, with these arguments and those of the command line."""
    file = str(Path(__file__).with_name("clip_surgery.launch.py"))
    return IncludeLaunchDescription(file, launch_arguments=arguments.items(), condition=condition)


def node_per_camera(context: LaunchContext) -> list[GroupAction]:
    """Make a node for each camera, in a namespace with the camera's name."""
    namespace = context.launch_configurations.get("namespace", "").strip("/")
    groups = []
    for camera in parse_cameras(CAMERAS.perform(context).split()):
        # The topic is relative to the namespace argument, not to the camera's namespace.
        topic = camera.topic if camera.topic[0] in "/~" else f"/{namespace}/{camera.topic}"
        camera_namespace = f"{namespace}/{camera.name}".strip("/")
        groups.append(
            GroupAction([clip_surgery(namespace=camera_namespace, image=topic.replace("//", "/"))])
        )
    return groups


def generate_launch_description() -> LaunchDescription:
    """Describe one node for all cameras, or a node for each."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "cameras",
                default_value="front:=/front/image_raw rear:=/rear/image_raw",
                description="image topics or name:=topic entries, separated by spaces",
            ),
            DeclareLaunchArgument(
                "separate",
                default_value="false",
                description="true for one node per camera, in the namespace NAME; "
                "false for one node, with results below clip_surgery/NAME",
            ),
            clip_surgery(condition=UnlessCondition(SEPARATE), image_topics=CAMERAS),
            OpaqueFunction(function=node_per_camera, condition=IfCondition(SEPARATE)),
        ]
    )
