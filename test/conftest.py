"""Shared by all tests: few threads, a ROS of their own, and the fixtures over ROS."""

import os
import signal

from clip_surgery_ros.arithmetic.openmp import limit_thread_spinning

limit_thread_spinning()  # before torch is imported: several processes share the cores

import pytest
import torch
from ros.harness import claim_domain, ros_context, ros_node  # noqa: F401
from ros.rig import active, rig, rigs  # noqa: F401

# Two threads in all, however many processes run the tests.
torch.set_num_threads(max(1, 2 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))
# In the background of a shell Ctrl-C is ignored, and would be by every process started here.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Tests without a context of their own start processes in this domain.
_domain, _lock = claim_domain()
os.environ["ROS_DOMAIN_ID"] = str(_domain)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

LONGEST_FILES = (
    *("test_soak", "test_packaging", "test_calibration", "test_demo_networks", "test_fuzz"),
    *("test_process", "test_faults", "test_newest_frame", "test_first_steps"),
)
"""They start first, so that no process is left alone with one of them at the end."""


def pytest_collection_modifyitems(items):
    """Put the longest files first; the others keep their order."""
    order = {name: index for index, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory):
    """Nothing is kept in the user's own folder, nor by a process that a test starts."""
    os.environ["CLIP_SURGERY_ROS_HOME"] = str(tmp_path_factory.mktemp("home"))
