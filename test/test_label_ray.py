"""``clip_surgery label --ray``: the same bytes; lost workers and nodes; what nodes lack."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from errno import ENOSPC
from pathlib import Path
from typing import TypeVar

import pytest
import ray_jobs
from ray_jobs import Held, Piece, PieceFile
from recorded_bags import panned, record_images
from ros.harness import START_S, wait_until

from clip_surgery_ros.benchmark.two_machines import (
    ADDRESSES,
    CAMERA,
    ROBOT,
    NoNamespaces,
    two_machines,
)
from clip_surgery_ros.core.errors import ClipSurgeryError, ConfigError
from clip_surgery_ros.recorded import on_ray
from clip_surgery_ros.recorded.on_ray import Workers, do_on_ray
from clip_surgery_ros.recorded.ray_worker import RayWorker
from clip_surgery_ros.tools.cli import main
from clip_surgery_ros.world.recorded import read_orbit

HEAD, OTHER = (ADDRESSES[machine].partition("/")[0] for machine in (CAMERA, ROBOT))
PORT = 6379
Result = TypeVar("Result")
FULL_BYTES = 16384
LOST_SOON = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "250",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "4",
}
"""Ray takes a node for lost that does not answer for some seconds; by default, half a minute."""

LABEL_LOCALLY = """
import sys
from pathlib import Path
from clip_surgery_ros.recorded.on_ray import Workers, do_on_ray
from ray_jobs import Held, Piece, PieceFile
folder = Path(sys.argv[1])
piece = Piece("piece_0", PieceFile(folder / "bag.mcap"))
do_on_ray([piece], Held(folder), Workers("local", 1), folder)
"""


@dataclass
class Cluster:
    """Two nodes, each in a network namespace with a core.

    :param folder: that both see.
    :param hidden: folder that the second node does not see.
    :param full: folder on a small disk.
    """

    folder: Path
    hidden: Path
    full: Path
    spaces: dict[str, str]
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    def start(self, job: Held, pieces: list[Piece], **options: object) -> Future[None]:
        """Begin with pieces."""
        workers = Workers(f"{HEAD}:{PORT}")
        return self.on_head(lambda: do_on_ray(pieces, job, workers, job.output, **options))

    def on_head(self, work: Callable[[], Result]) -> Future[Result]:
        """Do work in a thread that is on the first node."""
        return self.threads.submit(self._in_namespace, work)

    def _in_namespace(self, work: Callable[[], Result]) -> Result:
        with open(f"/run/netns/{self.spaces[CAMERA]}") as space:
            if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), 0):
                raise OSError(ctypes.get_errno(), "setns")
        return work()


def start_node(space: str, log: Path, hide: list[Path], *arguments: str) -> subprocess.Popen:
    """Start a node of Ray with shared memory of its own, and with folders that it does not see."""
    mounts = [f"mount -t tmpfs tmpfs '{path}'" for path in (Path("/dev/shm"), *hide)]
    command = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start"]
    command += ["--block", "--num-cpus=1", "--object-store-memory=83886080", *arguments]
    inside = [
        "ip",
        "netns",
        "exec",
        space,
        "sh",
        "-c",
        f'{" && ".join(mounts)} && exec "$@"',
        "sh",
    ]
    return subprocess.Popen(
        [*inside, *command],
        env={
            **os.environ,
            **LOST_SOON,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_raylet_start_wait_time_s": str(on_ray.START_S),
        },
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def wait_for_node(node: subprocess.Popen, log: Path) -> None:
    """Wait until a node has started."""
    wait_until(lambda: "runtime started" in log.read_text() or node.poll() is not None, START_S)
    assert node.poll() is None, log.read_text()


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    """Have Ray write no token to the home folder, and send the tests' jobs as they are."""
    reason = "Ray is not installed: pip install 'clip_surgery_ros[ray]'"
    ray = pytest.importorskip("ray", reason=reason)
    ray.cloudpickle.register_pickle_by_value(ray_jobs)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "disabled")
        yield


@pytest.fixture(scope="module")
def cluster(ray: None, tmp_path_factory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("ray")
    hidden, full = folder / "hidden", folder / "full"
    hidden.mkdir()
    full.mkdir()
    # Its sockets' paths would be too long below pytest's folder.
    session, nodes = Path(f"/tmp/ray_test_{os.getpid()}"), []
    try:
        with two_machines() as spaces:
            size = f"size={FULL_BYTES}"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(full)], check=True)
            try:
                head = ("--head", f"--port={PORT}", "--include-dashboard=false")
                head += (f"--node-ip-address={HEAD}", f"--temp-dir={session}")
                other = (f"--address={HEAD}:{PORT}", f"--node-ip-address={OTHER}")
                logs = [folder / "head.log", folder / "other.log"]
                # At the same time: the second waits until it reaches the first.
                nodes.append(start_node(spaces[CAMERA], logs[0], [], *head))
                nodes.append(start_node(spaces[ROBOT], logs[1], [hidden], *other))
                for node, log in zip(nodes, logs, strict=True):
                    wait_for_node(node, log)
                yield Cluster(folder, hidden, full, spaces)
            finally:
                for space in spaces.values():
                    end_all(space)
                subprocess.run(["umount", str(full)], check=True)
    except NoNamespaces as reason:
        pytest.skip(str(reason))
    finally:
        for node in nodes:
            node.wait()
        shutil.rmtree(session, ignore_errors=True)


def end_all(space: str) -> None:
    """End all processes of a namespace."""
    pids = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True)
    for pid in pids.stdout.split():
        os.kill(int(pid), signal.SIGKILL)


def pieces_of(folder: Path, count: int) -> list[Piece]:
    """Return pieces of a file."""
    bag = folder / "bag.mcap"
    bag.write_bytes(b"recorded")
    return [Piece(f"piece_{number}", PieceFile(bag)) for number in range(count)]


def hold(output: Path, *addresses: str) -> None:
    """Hold nodes back at the pieces that they begin."""
    for address in addresses:
        (output / f"hold {address}").touch()


def begun(output: Path) -> dict[str, int]:
    """Return the process that works on each node, by address."""
    names = (file.name.split() for file in output.glob("*.*.*.* *"))
    return {address: int(pid) for address, pid in names}


def results(output: Path) -> list[str]:
    """Return the pieces that have a whole result."""
    return sorted(file.stem for file in (output / "items").iterdir() if file.read_bytes() == b"xx")


@pytest.mark.slow
def test_local_cluster_is_reached_from_this_machine_alone(ray: None, tmp_path: Path) -> None:
    (piece,) = pieces_of(tmp_path, 1)
    # Ray chooses its address when it is imported.
    folders = (str(Path(__file__).parent), os.environ.get("PYTHONPATH", ""))
    subprocess.run(
        [sys.executable, "-c", LABEL_LOCALLY, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        check=True,
    )
    assert results(tmp_path) == [piece.key]
    assert set(begun(tmp_path)) == {"127.0.0.1"}


@pytest.mark.slow
def test_work_of_a_killed_worker_is_done_again_and_said(cluster: Cluster, tmp_path: Path) -> None:
    pieces, frames, notes = pieces_of(tmp_path, 5), [], []
    hold(tmp_path, HEAD, OTHER)
    run = cluster.start(Held(tmp_path), pieces, on_frames=frames.append, tell=notes.append)
    wait_until(lambda: len(begun(tmp_path)) == 2 or run.done(), START_S)
    killed = begun(tmp_path)[OTHER]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: bool(notes) or run.done(), START_S)
    for file in tmp_path.glob("hold *"):
        file.unlink()
    run.result(START_S)
    assert results(tmp_path) == [piece.key for piece in pieces]
    assert frames == [2] * 5
    (note,) = notes
    assert f"(process {killed}) of the Ray cluster is lost: its process ended" in note
    assert "its 2 images are done again" in note


@pytest.mark.slow
def test_piece_that_ends_its_workers_ends_the_run(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "MOST_TRIES", 2)
    pieces = pieces_of(tmp_path, 2)
    run = cluster.start(Held(tmp_path, deadly="piece_1"), pieces)
    with pytest.raises(ClipSurgeryError, match="2 workers with the same images were lost"):
        run.result(START_S)
    assert results(tmp_path) == ["piece_0"]


@pytest.mark.slow
def test_full_disk_of_a_node_ends_the_run(cluster: Cluster, tmp_path: Path) -> None:
    run = cluster.start(Held(cluster.full, size=2 * FULL_BYTES), pieces_of(tmp_path, 1))
    with pytest.raises(OSError) as caught:
        run.result(START_S)
    assert caught.value.errno == ENOSPC


@pytest.mark.slow
def test_node_without_the_bag_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    hold(tmp_path, HEAD)  # else it may be done before the other is ready
    run = cluster.start(Held(tmp_path), pieces_of(cluster.hidden, 2))
    with pytest.raises(ConfigError, match=r"of the Ray cluster: it has no such file, .*bag\.mcap"):
        run.result(START_S)


@pytest.mark.slow
def test_two_nodes_write_the_bytes_of_one_process(
    cluster: Cluster, tmp_path: Path, capsys
) -> None:
    table = read_orbit().frame(0).rgb
    pictures = [panned(table, step) for step in range(3)]
    bag = record_images(tmp_path / "drive", pictures, cut_from=2)
    command = ["label", str(bag), "--query", "mug; banana", "--clip-windows", "never"]
    command += ["--cpu-threads", "1", "--images-per-item", "1", "--export", "masks", "coco"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert main([*command, "--output", str(one)]) == 3
    command += ["--output", str(two), "--ray", f"{HEAD}:{PORT}"]
    assert cluster.on_head(lambda: main(command)).result(START_S) == 3
    assert "2 images labelled, 1 skipped" in capsys.readouterr().out
    files = sorted(file.relative_to(one) for file in one.rglob("*") if file.is_file())
    assert len(files) == 7  # three items, two masks, COCO and the lock
    assert files == sorted(f.relative_to(two) for f in two.rglob("*") if f.is_file())
    for file in files:
        assert (two / file).read_bytes() == (one / file).read_bytes(), file


@pytest.mark.slow
def test_work_of_a_lost_node_is_done_by_the_other(cluster: Cluster, tmp_path: Path) -> None:
    pieces, frames, notes = pieces_of(tmp_path, 4), [], []
    hold(tmp_path, HEAD, OTHER)
    run = cluster.start(Held(tmp_path), pieces, on_frames=frames.append, tell=notes.append)
    wait_until(lambda: len(begun(tmp_path)) == 2 or run.done(), START_S)
    # The machine runs on, but nobody reaches it any more.
    cut = ["ip", "-n", cluster.spaces[ROBOT], "link", "set", "veth0", "down"]
    subprocess.run(cut, check=True)
    (tmp_path / f"hold {HEAD}").unlink()
    run.result(START_S)
    assert results(tmp_path) == [piece.key for piece in pieces]
    assert frames == [2] * 4
    (note,) = notes
    assert f"(process {begun(tmp_path)[OTHER]}) of the Ray cluster is lost: its machine" in note


@pytest.mark.parametrize(
    ("version", "size", "mark", "problem"),
    [
        ("9.9.9", 3, "", "and 9.9.9 is wanted: install this version on all nodes"),
        ("", 4, "", "it has no such file, or another one, at"),
        ("", 3, "/missing", "does not see what is written to"),
        ("", 3, "", ""),
    ],
)
def test_worker_names_what_its_machine_lacks(
    tmp_path: Path, version: str, size: int, mark: str, problem: str
) -> None:
    (tmp_path / "bag.mcap").write_bytes(b"bag")
    worker = RayWorker("/missing", {})
    wanted = version or on_ray.version("clip_surgery_ros")
    found = worker.problem(wanted, {str(tmp_path / "bag.mcap"): size}, f"{tmp_path}{mark}")
    assert problem in found if problem else not found


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--ray", "ray://head:10001"], "run the command on a node, with 'auto'"),
        (["--ray", "head"], "must be local, auto or HOST:PORT"),
        (["--ray", "local", "--device", "cuda:1"], "a GPU of its own as cuda:0"),
    ],
)
def test_options_that_ray_cannot_serve_are_refused(
    ray: None, tmp_path: Path, capsys, options: list[str], error: str
) -> None:
    command = ["label", str(tmp_path), "--query", "mug", "--output", str(tmp_path / "out")]
    assert main([*command, *options]) == 2
    assert error in capsys.readouterr().err


def test_missing_ray_is_named_with_the_extra(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray.importlib.util, "find_spec", lambda name: None)
    command = ["label", str(tmp_path), "--query", "mug", "--output", str(tmp_path / "out")]
    assert main([*command, "--ray", "local"]) == 2
    assert "pip install 'clip_surgery_ros[ray]'" in capsys.readouterr().err
