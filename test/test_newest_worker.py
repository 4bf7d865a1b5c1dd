"""The worker thread, without ROS."""

import threading

import pytest

from clip_surgery_ros.ros.newest_worker import Job, NewestWorker

DEADLINE_S = 10


class Station:
    """Work that stops at a gate, so that a test decides what happens while it runs."""

    def __init__(self):
        self.seen = []
        self.errors = []
        self.dropped = []
        self.arrived = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)
        self.worker = NewestWorker()

    def offer(self, item, source="camera"):
        job = Job(
            run=lambda: self.work(item),
            failed=lambda error, text: self.errors.append((error, text)),
            dropped=lambda: self.dropped.append(item),
        )
        return self.worker.offer(source, job)

    def work(self, item):
        self.seen.append(item)
        self.arrived.release()
        assert self.gate.acquire(timeout=DEADLINE_S)
        if isinstance(item, Exception):
            raise item

    def wait_for_arrival(self):
        assert self.arrived.acquire(timeout=DEADLINE_S)


@pytest.fixture
def station():
    station = Station()
    station.worker.start()
    yield station
    station.gate.release(1000)
    station.worker.stop()


def test_only_the_newest_waiting_job_is_done(station):
    station.offer(1)
    station.wait_for_arrival()
    for item in (2, 3, 4):
        station.offer(item)
    station.gate.release()
    station.wait_for_arrival()
    station.gate.release()
    station.worker.stop()
    assert (station.seen, station.dropped) == ([1, 4], [2, 3])


def test_a_fast_source_does_not_keep_a_slow_one_waiting(station):
    station.offer("a1", "a")
    station.wait_for_arrival()
    station.offer("a2", "a")
    station.offer("b1", "b")
    station.offer("c1", "c")
    station.offer("a3", "a")
    station.gate.release()
    station.wait_for_arrival()
    # b and c were there before this one: a newer frame keeps its source's place, no better one.
    station.offer("a4", "a")
    station.gate.release(10)
    for _ in range(3):
        station.wait_for_arrival()
    assert (station.seen, station.dropped) == (["a1", "a3", "b1", "c1", "a4"], ["a2"])


def test_offering_does_not_wait_for_the_work(station):
    station.offer(1)
    station.wait_for_arrival()
    # The work stands at its gate; had this waited, the test would never come to open it.
    assert station.offer(2)


def test_an_error_is_told_with_its_traceback_and_the_thread_lives_on(station):
    station.gate.release(2)
    station.offer(ValueError("bad frame"))
    station.wait_for_arrival()
    station.offer("good")
    station.wait_for_arrival()
    station.worker.stop()
    (error, text), *rest = station.errors
    assert not rest and str(error) == "bad frame"
    assert "Traceback" in text and "in work" in text


def test_stopping_waits_for_the_job_in_work_and_drops_the_waiting_ones(station):
    station.offer(1)
    station.wait_for_arrival()
    station.offer(2)
    station.offer(3, "another")
    opener = threading.Timer(0.05, station.gate.release)
    opener.start()
    station.worker.stop()
    assert (station.seen, station.dropped) == ([1], [2, 3])


def test_a_stopped_worker_refuses_jobs(station):
    station.worker.stop()
    assert not station.offer(1)
    assert not station.worker.is_running
    assert station.seen == []


def test_stopping_and_starting_may_be_repeated(station):
    station.worker.stop()
    station.worker.stop()
    station.worker.start()
    station.worker.start()
    station.offer("again")
    station.wait_for_arrival()
    assert station.seen == ["again"]


def test_the_worker_cannot_stop_itself():
    errors = []
    done = threading.Event()
    worker = NewestWorker()

    def failed(error, _):
        errors.append(str(error))
        done.set()

    worker.start()
    worker.offer("source", Job(run=worker.stop, failed=failed, dropped=lambda: None))
    assert done.wait(DEADLINE_S)
    worker.stop()
    assert errors == ["the worker cannot be stopped from its own thread"]
