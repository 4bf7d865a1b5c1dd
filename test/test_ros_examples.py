"""The examples in the docstrings of ``ros/`` and ``node/`` run."""

import doctest
from importlib import import_module

import pytest

MODULES = (
    *("ros.compressed_format", "ros.images", "ros.newest_worker", "ros.rate_limit", "ros.tally"),
    "node.node",
)


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_the_module_run(module: str) -> None:
    result = doctest.testmod(import_module(f"clip_surgery_ros.{module}"))
    assert result.attempted > 0
    assert not result.failed
