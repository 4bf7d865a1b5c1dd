"""The worker thread, without ROS."""

import threading

import pytest

from clip_surgery_ros.ros.newest_worker import Job, NewestWorker

DEADLINE_S = 10


class Station:
    """A worker whose jobs wait at a gate until the test opens it."""

    def __init__(self):
        self.started = []
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
        self.started.append(item)
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


def test_newer_job_replaces_the_waiting_one(station):
    station.offer(1)
    station.wait_for_arrival()
    for item in (2, 3, 4):
        station.offer(item)
    station.gate.release()
    station.wait_for_arrival()
    station.gate.release()
    station.worker.stop()
    assert (station.started, station.dropped) == ([1, 4], [2, 3])


def test_fast_source_does_not_starve_slow_sources(station):
    station.offer("a1", "a")
    station.wait_for_arrival()
    station.offer("a2", "a")
    station.offer("b1", "b")
    station.offer("c1", "c")
    station.offer("a3", "a")
    station.gate.release()
    station.wait_for_arrival()
    # b and c were queued before a3; the newer a4 replaces a3 and keeps its place in the queue.
    station.offer("a4", "a")
    station.gate.release(10)
    for _ in range(3):
        station.wait_for_arrival()
    assert (station.started, station.dropped) == (["a1", "a3", "b1", "c1", "a4"], ["a2"])


def test_offer_does_not_wait_for_the_job(station):
    station.offer(1)
    station.wait_for_arrival()
    # The job waits at the gate; if offer() waited for it, the test would never continue.
    assert station.offer(2)


def test_error_is_reported_with_its_traceback_and_the_thread_continues(station):
    station.gate.release(2)
    station.offer(ValueError("bad frame"))
    station.wait_for_arrival()
    station.offer("good")
    station.wait_for_arrival()
    station.worker.stop()
    (error, text), *rest = station.errors
    assert not rest and str(error) == "bad frame"
    assert "Traceback" in text and "in work" in text


def test_stop_waits_for_the_running_job_and_drops_waiting_jobs(station):
    station.offer(1)
    station.wait_for_arrival()
    station.offer(2)
    station.offer(3, "second camera")
    opener = threading.Timer(0.05, station.gate.release)
    opener.start()
    station.worker.stop()
    assert (station.started, station.dropped) == ([1], [2, 3])


def test_stopped_worker_rejects_jobs(station):
    station.worker.stop()
    assert not station.offer(1)
    assert not station.worker.is_running
    assert station.started == []


def test_stop_and_start_can_be_repeated(station):
    station.worker.stop()
    station.worker.stop()
    station.worker.start()
    station.worker.start()
    station.offer("again")
    station.wait_for_arrival()
    assert station.started == ["again"]


def test_job_cannot_stop_its_worker():
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
