"""The worker thread, without ROS."""

import threading

import pytest

from clip_surgery_ros.newest_worker import NewestWorker, WorkerCounts

DEADLINE_S = 10


class Station:
    """Work that stops at a gate, so that a test decides what happens while it runs."""

    def __init__(self):
        self.seen = []
        self.errors = []
        self.arrived = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)
        self.worker = NewestWorker(self.work, self.report)

    def work(self, item):
        self.seen.append(item)
        self.arrived.release()
        assert self.gate.acquire(timeout=DEADLINE_S)
        if isinstance(item, Exception):
            raise item

    def report(self, error, text):
        self.errors.append((error, text))

    def wait_for_arrival(self):
        assert self.arrived.acquire(timeout=DEADLINE_S)


@pytest.fixture
def station():
    station = Station()
    station.worker.start()
    yield station
    station.gate.release(1000)
    station.worker.stop()


def test_only_the_newest_waiting_item_is_worked_on(station):
    station.worker.offer(1)
    station.wait_for_arrival()
    for item in (2, 3, 4):
        station.worker.offer(item)
    station.gate.release()
    station.wait_for_arrival()
    station.gate.release()
    station.worker.stop()
    assert station.seen == [1, 4]
    assert station.worker.counts == WorkerCounts(offered=4, done=2, failed=0, dropped=2)


def test_offering_does_not_wait_for_the_work(station):
    station.worker.offer(1)
    station.wait_for_arrival()
    # The work stands at its gate; had this waited, the test would never come to open it.
    assert station.worker.offer(2)


def test_an_error_is_reported_with_its_traceback_and_the_thread_lives_on(station):
    station.gate.release(2)
    station.worker.offer(ValueError("bad frame"))
    station.wait_for_arrival()
    station.worker.offer("good")
    station.wait_for_arrival()
    station.worker.stop()
    (error, text), *rest = station.errors
    assert not rest and str(error) == "bad frame"
    assert "Traceback" in text and "in work" in text
    counts = station.worker.counts
    assert (counts.done, counts.failed) == (1, 1)


def test_stopping_waits_for_the_item_in_work_and_drops_the_waiting_one(station):
    station.worker.offer(1)
    station.wait_for_arrival()
    station.worker.offer(2)
    opener = threading.Timer(0.05, station.gate.release)
    opener.start()
    station.worker.stop()
    assert station.seen == [1]
    assert station.worker.counts == WorkerCounts(offered=2, done=1, failed=0, dropped=1)


def test_a_stopped_worker_refuses_items(station):
    station.worker.stop()
    assert not station.worker.offer(1)
    assert not station.worker.running
    assert station.seen == []


def test_stopping_and_starting_may_be_repeated(station):
    station.worker.stop()
    station.worker.stop()
    station.worker.start()
    station.worker.start()
    station.worker.offer("again")
    station.wait_for_arrival()
    assert station.seen == ["again"]


def test_the_worker_cannot_stop_itself():
    errors = []
    done = threading.Event()

    def report(error, _):
        errors.append(str(error))
        done.set()

    worker = NewestWorker(lambda _: worker.stop(), report)
    worker.start()
    worker.offer(1)
    assert done.wait(DEADLINE_S)
    worker.stop()
    assert errors == ["the worker cannot be stopped from its own thread"]
