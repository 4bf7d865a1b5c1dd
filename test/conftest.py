"""Shared by all tests: few threads, so that timings and machines with two cores stay sane."""

import torch

torch.set_num_threads(2)
