"""Start the node with a lifecycle manager: ``ros2 launch clip_surgery_ros lifecycle.launch.py``.

With ``manager:=launch`` this file configures the node, and activates it after each successful
configuration. When configuring fails, the node stays unconfigured and you can try again. With
``manager:=nav2`` a lifecycle manager of Nav2 configures and activates it. With ``manager:=none``
you do this.
"""

from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.conditions import IfCondition
from launch.substitutions import EqualsSubstitution, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState, StateTransition
from launch_ros.events.matchers import matches_node_name
from lifecycle_msgs.msg import Transition

from launch import Action, LaunchContext, LaunchDescription

MANAGER = LaunchConfiguration("manager")


def configure_and_activate(context: LaunchContext) -> list[Action]:
    """Configure the node, then activate it; if it cannot be configured, log what to do."""
    namespace = LaunchConfiguration("namespace").perform(context).strip("/")
    name = f"/{namespace}/clip_surgery".replace("//", "/")

    def change(transition: int) -> EmitEvent:
        matcher = matches_node_name(name)
        return EmitEvent(
            event=ChangeState(lifecycle_node_matcher=matcher, transition_id=transition)
        )

    def when_configured(goal: str, action: Action) -> RegisterEventHandler:
        def is_transition(event) -> bool:
            return (
                isinstance(event, StateTransition)
                and event.action.node_name == name
                and (event.start_state, event.goal_state) == ("configuring", goal)
            )

        return RegisterEventHandler(OnStateTransition(matcher=is_transition, entities=[action]))

    failure = f"{name} could not be configured: its log says why. Correct that, then try again"
    retry = f"ros2 lifecycle set {name} configure"
    return [
        when_configured("inactive", change(Transition.TRANSITION_ACTIVATE)),
        when_configured("unconfigured", LogInfo(msg=f"{failure}: {retry}")),
        change(Transition.TRANSITION_CONFIGURE),
    ]


def generate_launch_description() -> LaunchDescription:
    """Describe a node without autostart, and its lifecycle manager."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "manager",
                default_value="launch",
                choices=["launch", "nav2", "none"],
                description="what configures and activates the node: this launch file, a "
                "lifecycle manager of Nav2 that it starts, or neither",
            ),
            IncludeLaunchDescription(
                str(Path(__file__).with_name("clip_surgery.launch.py")),
                launch_arguments={"autostart": "false"}.items(),
            ),
            OpaqueFunction(
                function=configure_and_activate,
                condition=IfCondition(EqualsSubstitution(MANAGER, "launch")),
            ),
            Node(
                package="nav2_lifecycle_manager",
                executable="lifecycle_manager",
                name="lifecycle_manager_clip_surgery",
                namespace=LaunchConfiguration("namespace"),
                # The node has no bond with the manager, and loading networks takes a while.
                parameters=[
                    {
                        "node_names": ["clip_surgery"],
                        "autostart": True,
                        "bond_timeout": 0.0,
                        "service_timeout": 60.0,
                    }
                ],
                output="screen",
                condition=IfCondition(EqualsSubstitution(MANAGER, "nav2")),
            ),
        ]
    )
