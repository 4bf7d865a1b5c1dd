"""The number of threads of each frame, by what else uses the cores."""

import os
import subprocess
import sys

import pytest
import torch

from clip_surgery_ros.arithmetic.threads import (
    TRIAL_AGAIN,
    TRIAL_FRAMES,
    ThreadsByLoad,
    waited_for_core,
)
from clip_surgery_ros.networks.factory import load_networks
from clip_surgery_ros.parameters.config import Config

SECONDS_ON = {4: 0.9, 1: 0.5}
"""Of a frame beside competing programs, by number of threads."""


def frames(threads, count, waited_share, seconds_on=SECONDS_ON):
    """Record frames; return the number of threads of each."""
    chosen = []
    for _ in range(count):
        chosen.append(threads.count)
        seconds = seconds_on[chosen[-1]]
        threads.record(chosen[-1], seconds, waited_share * seconds)
    return chosen


def test_on_an_idle_machine_nothing_is_tried():
    assert set(frames(ThreadsByLoad(4), 2 * TRIAL_AGAIN, waited_share=0.05)) == {4}


def test_beside_competitors_both_numbers_are_tried_and_the_faster_is_kept():
    chosen = frames(ThreadsByLoad(4), TRIAL_AGAIN, waited_share=0.5)
    trial = [4] * TRIAL_FRAMES + [1] * TRIAL_FRAMES
    assert chosen == trial + [1] * (TRIAL_AGAIN - len(trial))


def test_several_threads_stay_where_they_are_faster_beside_competitors():
    chosen = frames(ThreadsByLoad(4), 20, 0.5, {4: 0.4, 1: 0.5})
    assert chosen[TRIAL_FRAMES : 2 * TRIAL_FRAMES] == [1] * TRIAL_FRAMES
    assert set(chosen[2 * TRIAL_FRAMES :]) == {4}


def test_the_numbers_are_tried_again_because_the_load_changes():
    threads = ThreadsByLoad(4)
    frames(threads, TRIAL_AGAIN, waited_share=0.5)
    later = frames(threads, TRIAL_AGAIN, 0.5, {4: 0.4, 1: 0.5})
    assert later[-1] == 4
    assert later.count(1) <= TRIAL_FRAMES + 1


def test_all_threads_are_back_after_one_frame_without_competitors():
    threads = ThreadsByLoad(4)
    assert frames(threads, 10, waited_share=0.5)[-1] == 1
    assert frames(threads, 3, waited_share=0.0) == [1, 4, 4]


def test_one_thread_is_never_tried_against_itself():
    threads = ThreadsByLoad(1)
    assert set(frames(threads, 10, 0.5)) == {1}


@pytest.fixture
def torch_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_frame_computes_on_the_chosen_number_of_threads_also_when_it_fails(torch_threads):
    torch.set_num_threads(2)
    threads = ThreadsByLoad(3)
    with pytest.raises(ZeroDivisionError), threads.frame():
        assert torch.get_num_threads() == 3
        raise ZeroDivisionError
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("values", "asked", "varies"),
    [({}, True, True), ({"cpu_threads": 1}, True, False), ({}, False, False)],
)
def test_threads_follow_the_load_only_where_this_is_asked_and_left_open(
    torch_threads, values, asked, varies
):
    networks = load_networks(Config.from_values({"device": "cpu", **values}), asked)
    assert (networks.threads is not None) == varies


WAIT_BESIDE_A_PROGRAM_ON_THE_SAME_CORE = """
import os, subprocess, sys, time
from clip_surgery_ros.arithmetic.threads import waited_for_core
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
before, end = waited_for_core(), time.process_time() + 0.2
rival = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
while time.process_time() < end:
    pass
rival.kill()
rival.wait()
print(waited_for_core() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/thread-self/schedstat"), reason="no schedstat here")
def test_time_without_a_core_is_that_of_this_thread():
    sleeping = waited_for_core()
    command = [sys.executable, "-c", WAIT_BESIDE_A_PROGRAM_ON_THE_SAME_CORE]
    waited_s = float(subprocess.check_output(command))
    assert waited_s > 0.1  # equal shares of the core would be 0.2
    assert waited_for_core() - sleeping < waited_s
