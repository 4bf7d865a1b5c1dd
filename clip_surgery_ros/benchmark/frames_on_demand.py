"""A process that computes the number of frames in each line of its input, and prints their time.

``python -m clip_surgery_ros.benchmark.frames_on_demand NETWORKS PRECISION``, where NETWORKS
is ``demo``, or the model of a SAM to run with a ViT-B/16.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from clip_surgery_ros.arithmetic.openmp import limit_thread_spinning

READY = "ready"
DEMO_LABELS = ("apple", "hammer", "toy car", "banana", "mug")


def main() -> None:
    """Print :data:`READY` and the number of threads; then, for every line of input, wall time and
    processor time per frame in seconds.
    """
    limit_thread_spinning()  # as the node's own program does
    import torch

    run_frame = _frames(*sys.argv[1:])
    run_frame()
    print(READY, torch.get_num_threads(), flush=True)
    for line in sys.stdin:
        count = int(line)
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        for _ in range(count):
            run_frame()
        wall_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
        print(wall_s / count, cpu_s / count, flush=True)


def _frames(name: str, precision: str) -> Callable[[], object]:
    """Return a function that processes an image that its pipeline has not cached."""
    from clip_surgery_ros.benchmark.networks import random_texts
    from clip_surgery_ros.benchmark.setting import LABELS, Setting, unseen_images
    from clip_surgery_ros.core.query import query_of
    from clip_surgery_ros.networks.factory import load_networks
    from clip_surgery_ros.parameters.config import DEMO, Config

    if name == DEMO:
        config = Config.from_values({"precision": precision, "presence_threshold": 0.0})
        networks = load_networks(config, threads_by_load=True)  # as the node does
        pipeline, names = networks.pipeline(config), list(DEMO_LABELS)
    else:
        setting = Setting(name, precision)
        pipeline, (names, _) = setting.pipeline(), random_texts(setting.networks[0], LABELS)
    query, shown = query_of(names), unseen_images()
    return lambda: pipeline.run(shown(), query)


if __name__ == "__main__":
    main()
