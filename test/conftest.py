"""Shared by all tests: few threads, a ROS of their own, and the fixtures over ROS."""

import os
import signal

import pytest
import torch
from ros.harness import claim_domain, ros_context, ros_node  # noqa: F401
from ros.rig import active, rig, rigs  # noqa: F401

torch.set_num_threads(2)
# In the background of a shell Ctrl-C is ignored, and would be by every process started here.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Tests without a context of their own start processes in this domain.
_domain, _lock = claim_domain()
os.environ["ROS_DOMAIN_ID"] = str(_domain)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory):
    """Nothing is kept in the user's own folder, nor by a process that a test starts."""
    os.environ["CLIP_SURGERY_ROS_HOME"] = str(tmp_path_factory.mktemp("home"))
