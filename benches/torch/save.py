"""1 GiB is saved; `fsync` says whether the disk has it."""

import os

import torch
from clock import timed


def make(variant, setting):
    folder = setting.memory if variant == "memory" else setting.disk
    path = os.path.join(folder, "saved-by-torch.pt")
    model = {f"layers.{at}.weight": torch.randn(2048, 2048) for at in range(setting.sized(64, 4))}

    def save():
        torch.save(model, path)
        if variant.endswith("fsync"):
            with open(path, "rb") as file:
                os.fsync(file.fileno())

    return lambda: timed(save)
