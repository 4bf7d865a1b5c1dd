"""The benchmark beside competing programs: its arithmetic, and one run with real frames."""

import pytest

from clip_surgery_ros.benchmark import busy
from clip_surgery_ros.benchmark.busy import (
    COMPETITORS,
    SPINNING,
    THIS,
    FrameTimes,
    fair_slowdown,
    rows,
)
from clip_surgery_ros.parameters.config import DEMO


@pytest.mark.parametrize(
    ("threads", "competitors", "cores", "slowdown"),
    [(2, 0, 2, 1), (2, 2, 2, 2), (2, 8, 2, 5), (1, 1, 2, 1), (1, 3, 2, 2), (4, 4, 8, 1)],
)
def test_fair_slowdown_is_that_of_equal_time_slices(threads, competitors, cores, slowdown):
    assert fair_slowdown(threads, competitors, cores) == slowdown


def test_rows_compare_with_fair_share_and_with_spinning_threads():
    times = FrameTimes()
    for load, wall_s, cpu_s in ((0, 0.1, 0.2), (2, 0.3, 0.21), (4, 0.3, 0.2), (8, 0.5, 0.24)):
        times.add(THIS, load, wall_s, cpu_s)
    times.add(SPINNING, 0, 0.125, 0.25)
    by_name = {row.what: row.value for row in rows("small", times, threads=2, cores=2)}
    assert list(by_name.values()) == pytest.approx([1.5, 1.0, 1.0, 0.8, 1.2])


def test_frames_are_measured_for_every_number_of_competitors():
    times, threads = busy._measure(DEMO, "float32", frames=1, rounds=1, spinning_beside=(0,))
    assert threads >= 1
    assert set(times.wall_s) == {(THIS, load) for load in COMPETITORS} | {(SPINNING, 0)}
    assert all(seconds > 0 for (seconds,) in times.cpu_s.values())
