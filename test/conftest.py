"""Shared by all tests: few threads, and a ROS of their own."""

import os

import torch

torch.set_num_threads(2)
# Neither a robot on the network nor a second run on this machine is part of a test. Domains up to
# 101 keep clear of the ports that the system hands out.
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
