"""The ring of stamps that pairs depth with an image."""

from __future__ import annotations

from threading import Thread

import pytest

from clip_surgery_ros.space.pairing import StampRing

MS = 1_000_000


def ring_of(*stamps_ms: int) -> StampRing[int]:
    ring: StampRing[int] = StampRing()
    for stamp in stamps_ms:
        ring.add(stamp * MS, stamp)
    return ring


@pytest.mark.parametrize(
    ("asked_ms", "nearest"), [(0, 100), (100, 100), (114, 100), (119, 133), (133, 133), (900, 166)]
)
def test_nearest_stamp_is_found(asked_ms: int, nearest: int) -> None:
    found = ring_of(133, 100, 166).nearest(asked_ms * MS)
    assert found is not None and found.value == nearest


def test_stamps_of_nanoseconds_are_compared_exactly() -> None:
    now = 1_700_000_000_123_456_789  # as float64 its neighbours differ by 256 ns
    ring: StampRing[str] = StampRing()
    ring.add(now, "now")
    ring.add(now + 1, "next")
    found = ring.nearest(now)
    assert found is not None and found.value == "now"


def test_a_stamp_at_the_limit_of_skew_is_taken_and_one_beyond_is_not() -> None:
    ring = ring_of(1000)
    assert ring.within(1030 * MS, 30 * MS) is not None
    assert ring.within(1030 * MS + 1, 30 * MS) is None
    assert ring.within(970 * MS - 1, 30 * MS) is None


def test_empty_ring_has_no_nearest() -> None:
    assert ring_of().nearest(5) is None


def test_entries_age_out() -> None:
    ring = ring_of(0, 500, 1000, 1001)
    found = ring.nearest(0)
    assert len(ring) == 3 and found is not None and found.value == 500


def test_number_of_entries_is_limited() -> None:
    ring: StampRing[int] = StampRing(most=3)
    for stamp in range(10):
        ring.add(stamp, stamp)
    found = ring.nearest(0)
    assert len(ring) == 3 and found is not None and found.value == 7


def test_same_stamp_replaces() -> None:
    ring = ring_of(5)
    ring.add(5 * MS, 99)
    found = ring.nearest(0)
    assert len(ring) == 1 and found is not None and found.value == 99


def test_clock_set_back_drops_what_was_before() -> None:
    ring = ring_of(50_000, 50_033)
    ring.add(100 * MS, 100)
    found = ring.nearest(50_000 * MS)
    assert len(ring) == 1 and found is not None and found.value == 100


def test_cleared_ring_is_empty() -> None:
    ring = ring_of(1, 2)
    ring.clear()
    assert len(ring) == 0


def test_threads_add_and_look_up_at_once() -> None:
    ring: StampRing[int] = StampRing(most=8)
    errors: list[Exception] = []

    def write(first: int) -> None:
        for stamp in range(first, 20_000, 2):
            ring.add(stamp, stamp)

    def read() -> None:
        try:
            for stamp in range(20_000):
                found = ring.nearest(stamp)
                assert found is None or found.value == found.stamp_ns
        except Exception as error:
            errors.append(error)

    threads = [
        Thread(target=write, args=(0,)),
        Thread(target=write, args=(1,)),
        Thread(target=read),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors and len(ring) == 8
