"""The node's process: what it imports, how its threads wait, and how it ends."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from clip_surgery_ros.msg import SegmentArray
from lifecycle_msgs.msg import TransitionEvent
from ros.harness import (
    CAMERA,
    NODE,
    START_S,
    Inbox,
    Process,
    children_s,
    claim_domain,
    port_in_shared_memory,
    slowdown,
    wait_until,
)

from clip_surgery_ros.arithmetic import threads
from clip_surgery_ros.arithmetic.openmp import SPINS, limit_thread_spinning
from clip_surgery_ros.arithmetic.threads import SMALL_THREADS, set_thread_count, usable_cores
from clip_surgery_ros.networks.factory import load_networks
from clip_surgery_ros.parameters.config import Config

END_S = 0.5
"""Limit on an idle machine; ros2 launch sends SIGTERM only after seconds."""
UNUSED = (
    *("transformers", "timm", "matplotlib", "scipy", "pandas", "sympy", "sam2", "mobile_sam"),
    *("torch._dynamo", "torch._inductor", "torch.utils.tensorboard", "triton", "hydra"),
    *("PIL.JpegImagePlugin", "PIL.PngImagePlugin", "IPython", "pytest", "ray"),
)
"""Modules that the demo's networks do not use."""


def run_python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        cwd="/",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_node_imports_no_module_that_the_demo_networks_do_not_use():
    code = (
        "import sys, clip_surgery_ros.node.program\n"
        "from clip_surgery_ros.networks.factory import load_networks\n"
        "from clip_surgery_ros.parameters.config import Config\n"
        "load_networks(Config.from_values())\n"
        f"print([name for name in {UNUSED!r} if name in sys.modules], len(sys.modules))"
    )
    unused, count = run_python(code).stdout.splitlines()[-1].rsplit(" ", 1)
    assert unused == "[]"
    # 2,000 today; 3,200 with torch's compiler, timm and transformers.
    assert int(count) < 2400


def test_node_handles_signals_before_slow_imports():
    code = (
        "import sys, clip_surgery_ros.node.main;"
        "print('torch' in sys.modules, 'rclpy' in sys.modules)"
    )
    assert run_python(code).stdout.split() == ["False", "False"]


@pytest.mark.parametrize("first", ["import open_clip", "import torch._dynamo", ""])
def test_lazy_imports_work_for_open_clip_and_timm_towers(first):
    code = (
        f"{first}\n"
        "import clip_surgery_ros.networks.factory\n"
        "from clip_surgery_ros.networks.clip.hugging_face_text import create_model\n"
        "import torchvision, torch\n"
        "print(torchvision.ops.roi_align.__globals__['is_compile_supported']('cpu'))\n"
        "print(type(create_model('MobileCLIP-S1').visual).__name__)\n"
    )
    assert run_python(code).stdout.split()[-2:] == ["True", "TimmModel"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": SPINS}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"KMP_BLOCKTIME": "0"}, {"KMP_BLOCKTIME": "0"}),
    ],
)
def test_thread_spinning_is_limited_unless_the_user_set_it(environment, expected):
    environment = dict(environment)
    limit_thread_spinning(environment)
    assert environment == expected


def test_openmp_reads_the_spin_limit_in_the_node_process():
    with Process(*NODE, environment={"OMP_DISPLAY_ENV": "VERBOSE"}) as node:
        node.wait_for_line(f"GOMP_SPINCOUNT = '{SPINS}'", START_S)


@pytest.fixture
def torch_threads():
    before = torch.get_num_threads()
    threads.initial_thread_count.cache_clear()
    yield before
    torch.set_num_threads(before)
    threads.initial_thread_count.cache_clear()


def threads_of_a_new_thread():
    counts = []
    worker = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    worker.start()
    worker.join()
    return counts[0]


def test_cpu_threads_applies_to_all_python_threads(torch_threads):
    load_networks(Config.from_values({"cpu_threads": 1}))
    assert threads_of_a_new_thread() == 1
    load_networks(Config.from_values())
    assert threads_of_a_new_thread() == min(torch_threads, SMALL_THREADS)


@pytest.mark.parametrize(
    ("available", "small", "is_set", "expected"),
    [(1, True, False, 1), (16, True, False, 4), (16, False, False, 16), (16, True, True, 16)],
)
def test_small_networks_use_few_threads_unless_the_user_sets_them(
    torch_threads, monkeypatch, available, small, is_set, expected
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if is_set:
        monkeypatch.setenv("OMP_NUM_THREADS", str(available))
    torch.set_num_threads(available)
    assert set_thread_count(0, small) == expected == torch.get_num_threads()


def test_cpu_threads_is_limited_to_the_cores_with_a_warning(torch_threads, caplog):
    assert set_thread_count(1000, small=False) == usable_cores()
    assert f"cpu_threads is 1000, but the process may use {usable_cores()} cores" in caplog.text


class Ending:
    """Sends a signal to a process, waits for its end and measures the time."""

    def __init__(self, process, number):
        used_s, start_s = process.cpu_s, time.monotonic()
        before_s = children_s()
        process.signal(number)
        self.status = process.wait()
        self.wall_s = time.monotonic() - start_s
        self.cpu_s = children_s() - before_s - used_s

    def check(self, computing=0):
        """Assert that the end was quick.

        :param computing: threads that compute until the end, for all of its wall time.
        """
        print(f"ended in {self.wall_s:.2f} s, {self.cpu_s:.2f} s of processor time")
        assert self.status == 0
        assert self.cpu_s - computing * self.wall_s < END_S
        # On a busy machine the wall time grows with the load.
        assert self.wall_s < END_S * 2 * slowdown()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_node_ends_fast_during_inference(ros_node, number, tmp_path):
    arguments = ("-p", "default_query:=car; hammer", "-p", "presence_threshold:=0.0")
    logs = {"ROS_LOG_DIR": str(tmp_path)}
    with (
        Process(*CAMERA, "--rate", "30"),
        Process(*NODE, *arguments, environment=logs) as node,
    ):
        events = Inbox(ros_node, TransitionEvent, "/clip_surgery/transition_event")
        segments = Inbox(ros_node, SegmentArray, "/clip_surgery/segments")
        segments.wait(deadline_s=START_S)
        Ending(node, number).check()
        # Lifecycle managers get the event, and the ROS graph no longer has the node.
        events.wait(lambda event: event.goal_state.label == "finalized")
        wait_until(lambda: not ros_node.count_publishers("/clip_surgery/segments"), 10.0)
        assert "Traceback" not in node.text() and "ERROR" not in node.text()
    (log,) = tmp_path.glob("*.log")
    assert "active on cpu" in log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_node_ends_fast_while_it_loads_networks(ros_node, number, tmp_path):
    endless = tmp_path / "clip.pt"
    with endless.open("wb") as file:
        file.truncate(2**42)  # a sparse file, whose checksum takes an hour
    networks = ("clip_model:=openai", f"clip_checkpoint:={endless}", "clip_sha256:='01234567'")
    options = [word for assignment in networks for word in ("-p", assignment)]
    with Process(*NODE, *options) as node:
        node.wait_for_line("query 1", START_S)
        wait_until(lambda: ros_node.count_publishers("/clip_surgery/active_query") == 1, START_S)
        Ending(node, number).check(computing=1)  # the thread of the checksum
        wait_until(lambda: not ros_node.count_publishers("/clip_surgery/active_query"), 10.0)
        assert "Traceback" not in node.text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_node_ends_fast_while_it_starts(number):
    for _ in range(3):
        with Process(*NODE) as node:
            wait_until(lambda node=node: "libtorch_cpu" in str(maps(node)), START_S)
            ending = Ending(node, number)
            assert ending.status == 0
            assert not node.text()


def maps(process):
    """Return the lines of a process's memory map."""
    return (process.folder / "maps").read_text().splitlines()


def own_shared_memory(process):
    """Return the shared-memory files that Fast DDS made for a process or its domain.

    Ports below 7400, the lowest port of a domain, serve all processes of the machine, such as
    tests that run at the same time. Their ends may delete a file that this process still maps.
    """
    files = set(re.findall(r"/dev/shm/fastrtps_\w+$", "\n".join(maps(process)), re.MULTILINE))
    return {name for name in files if not re.search("_port7[0-3][0-9]{2}$", name)}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_node_removes_its_shared_memory_files(ros_context, number):
    """No other process is in the node's domain and keeps files open."""
    with Process(*NODE) as node:
        node.wait_for_line("active on", START_S)
        files = own_shared_memory(node)
        assert len(files) >= 2 and all(map(os.path.exists, files))
        Ending(node, number)
        assert not set(filter(os.path.exists, files))


def test_domain_is_claimed_without_ports_that_killed_processes_left():
    domain, lock = claim_domain()
    stale, read = (port_in_shared_memory(domain, index) for index in (240, 241))
    files = [*(f"{port}{end}" for port in (stale, read) for end in ("", "_el"))]
    files += [str(stale.with_name(f"sem.{stale.name}_mutex"))]
    for file in files:
        Path(file).touch()
    with open(f"{read}_el") as reader:
        fcntl.flock(reader, fcntl.LOCK_EX)
        lock.release()
        _, lock = claim_domain(iter([domain]))
        assert list(filter(os.path.exists, files)) == [str(read), f"{read}_el"]
    lock.release()
    claim_domain(iter([domain]))[1].release()
    assert not read.exists()


def test_unhandled_error_ends_the_process_with_its_traceback():
    code = (
        "import atexit, clip_surgery_ros.node.ending as ending\n"
        "atexit.register(print, 'left in order')\n"
        "ending.end_quickly_on_error()\n"
        "raise ValueError('nobody handles this')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: nobody handles this\n")
    assert done.stdout == "left in order\n"


def test_node_with_invalid_parameter_ends_with_status_2():
    with Process(*NODE, "-p", "threshold:=7.0") as node:
        assert node.wait(START_S) == 2
        assert node.text().startswith("clip_surgery: threshold is 7.0")
