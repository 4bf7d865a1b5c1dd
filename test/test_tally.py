"""Counts, rates, durations and the rate limit, with a fake clock."""

import pytest

from clip_surgery_ros.ros.rate_limit import RateLimit
from clip_surgery_ros.ros.tally import Tally


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def test_rate_is_of_the_last_seconds(clock):
    tally = Tally(clock)
    for _ in range(20):
        tally.count("in")
        clock.now_s += 0.1
    assert tally.rate_hz("in") == pytest.approx(10)
    clock.now_s += 10
    assert tally.rate_hz("in") == 0
    assert tally.counts["in"] == 20
    assert tally.seconds_since("in") == pytest.approx(10.1)


def test_count_adds_several_events_at_once(clock):
    tally = Tally(clock)
    tally.count("lost", 3)
    assert (tally.counts["lost"], tally.recent_count("lost")) == (3, 3)
    assert tally.rate_hz("lost") == 0  # no time has passed, so there is no rate
    clock.now_s += 4
    tally.count("lost", 2)
    assert (tally.counts["lost"], tally.recent_count("lost")) == (5, 5)
    clock.now_s += 2
    assert (tally.counts["lost"], tally.recent_count("lost")) == (5, 2)
    assert tally.recent_count("in") == 0


def test_a_count_of_billions_takes_no_memory(clock):
    """The middleware reports as many lost messages after one damaged packet."""
    tally = Tally(clock)
    tally.count("lost", 2**31)
    assert (tally.counts["lost"], tally.recent_count("lost")) == (2**31, 2**31)
    clock.now_s += 4
    tally.count("lost", 1)
    assert tally.rate_hz("lost") == 2**31 / 4


def test_unknown_event_has_no_count_rate_or_age(clock):
    tally = Tally(clock)
    assert tally.counts["in"] == 0
    assert tally.rate_hz("in") == 0
    assert tally.seconds_since("in") is None
    assert tally.spreads() == {}


def test_percentiles_are_of_recent_durations(clock):
    tally = Tally(clock)
    tally.record("clip", 1000.0)
    for milliseconds in range(200):
        tally.record("clip", milliseconds / 1000)
    spread = tally.spreads()["clip"]
    assert spread.p50_s == pytest.approx(0.0995)
    assert spread.p95_s == pytest.approx(0.18905)
    assert tally.counts["clip"] == 201


def test_reset_clears_all_counts(clock):
    tally = Tally(clock)
    tally.record("clip", 1.0)
    tally.reset()
    assert (tally.counts["clip"], tally.spreads()) == (0, {})


def test_rate_limit_holds_on_average_for_a_faster_camera(clock):
    limit, passed = RateLimit(clock), 0
    for _ in range(300):  # 10 s of 30 Hz
        passed += limit.is_due(8.0)
        clock.now_s += 1 / 30
    assert passed == pytest.approx(80, abs=1)


def test_rate_limit_of_zero_passes_all(clock):
    limit = RateLimit(clock)
    assert all(limit.is_due(0.0) for _ in range(10))


def test_rate_limit_allows_no_burst_after_a_pause(clock):
    limit = RateLimit(clock)
    assert limit.is_due(1.0)
    clock.now_s += 100
    assert [limit.is_due(1.0) for _ in range(5)] == [True, False, False, False, False]
