"""Shared by all tests: few threads, a ROS domain, the shipped networks, and the ROS fixtures."""

import os
import signal

from clip_surgery_ros.arithmetic.openmp import limit_thread_spinning

limit_thread_spinning()  # before torch is imported: several processes share the cores

from clip_surgery_ros.networks.slim_imports import import_slim

import_slim()  # before a test imports open_clip, with transformers and torch's compiler

import pytest
import torch
from ros.harness import claim_domain, ros_context, ros_node  # noqa: F401
from ros.rig import active, rig, rigs  # noqa: F401

# Two threads in all, however many processes run the tests.
torch.set_num_threads(max(1, 2 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))
# A shell's background jobs ignore Ctrl-C, and the processes that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Processes of tests without a ROS context use this domain.
_domain, _lock = claim_domain()
os.environ["ROS_DOMAIN_ID"] = str(_domain)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

LONGEST_FILES = (
    *("test_packaging", "test_soak", "test_process", "test_faults", "test_fuzz"),
    "test_space_fuzz",
    *("test_label_ray", "test_demo_networks", "test_newest_frame", "test_calibration"),
    "test_hostile_command_line",
    *("test_lifecycle", "test_end_to_end", "test_live_parameters", "test_first_steps"),
    *("test_command_line", "test_busy", "test_label"),
)
"""They start first, so that both processes finish at about the same time."""


def pytest_collection_modifyitems(items):
    """Put the longest files first; the others keep their order."""
    order = {name: index for index, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session")
def networks():
    """The shipped networks with default parameters, on the CPU also where there is a GPU: tests
    compare their tensors with others."""
    # Most runs of single tests do not need this import.
    from clip_surgery_ros.networks.factory import load_networks
    from clip_surgery_ros.parameters.config import Config

    return load_networks(Config.from_values({"device": "cpu"}))


@pytest.fixture(scope="session", autouse=True)
def _use_temporary_home(tmp_path_factory):
    """Keep the caches of tests, and of processes they start, out of the user's home."""
    os.environ["CLIP_SURGERY_ROS_HOME"] = str(tmp_path_factory.mktemp("home"))
