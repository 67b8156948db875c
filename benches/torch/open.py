"""A checkpoint of 10 GB is opened and its tensors are listed."""

import torch
from clock import timed

FILE = "large.pt"


def make(variant, setting, file=FILE):
    path = setting.file(file)

    def listed():
        state_dict = torch.load(path, mmap=True)
        return state_dict, [(name, tensor.shape) for name, tensor in state_dict.items()]

    return lambda: timed(listed)
