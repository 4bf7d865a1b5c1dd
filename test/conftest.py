"""Shared by all tests: few threads, a ROS of their own, and the fixtures over ROS."""

import os

import torch
from ros.harness import ros_context, ros_node  # noqa: F401
from ros.rig import active, rig, rigs  # noqa: F401

torch.set_num_threads(2)
# Neither a robot on the network nor a second run on this machine is part of a test. Domains up to
# 101 keep clear of the ports that the system hands out.
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
