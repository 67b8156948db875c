"""PyTorch's side of `cargo bench`: makes what a row needs, says `ready`, and takes a turn for each line on standard input,
which says how often: the answer is the mean.

    turns.py ROW VARIANT THREADS DISK MEMORY full|small

The module of the row's name has `make(variant, setting)`, which gives a function: each call gives the seconds it took."""

import importlib
import os
import sys
from types import SimpleNamespace

import torch

row, variant, threads, disk, memory, size = sys.argv[1:]
setting = SimpleNamespace(
    disk=disk,
    memory=memory,
    small=size == "small",
    sized=lambda full, small: small if size == "small" else full,
    file=lambda name: os.path.join(disk, name),
)
torch.manual_seed(0)
torch.set_num_threads(int(threads))
turn = importlib.import_module(row).make(variant, setting)
print("ready", torch.__version__, flush=True)
for line in sys.stdin:
    times = int(line)
    print(sum(turn() for _ in range(times)) / times, flush=True)
