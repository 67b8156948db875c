"""1 GiB is read; PyTorch verifies no checksum."""

import torch
from clock import timed


def make(variant, setting):
    path = setting.file("read.pt")
    return lambda: timed(lambda: torch.load(path))
