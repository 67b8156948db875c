"""A hundred million draws of a distribution, on one thread."""

import torch
from clock import timed


def make(variant, setting):
    torch.set_num_threads(1)
    values = torch.ones(setting.sized(100_000_000, 1_000_000))
    draw = {
        "uniform": values.uniform_,
        "normal": values.normal_,
        "exponential": values.exponential_,
        "bernoulli": lambda: values.bernoulli_(0.5),
    }[variant]
    return lambda: timed(draw)
