"""Exports networks into the folder, with what PyTorch computes of them; prints a line for each: its name and PyTorch's own noise."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fixtures"))

import torch

from sections import _programs

torch.set_num_threads(1)
makes = {**_programs.OWN, **_programs.hugging_face(), **_programs.torchvision()}
for name, make in makes.items():
    folder = Path(sys.argv[1]) / name
    folder.mkdir()
    outputs, gradients = _programs.case(make, folder)
    print(name, outputs, gradients, flush=True)
