"""Exports networks into a folder, with what PyTorch computes of them; prints a line for each: its name, and how far outputs and
gradients in training may be from PyTorch's. Its arguments: the folder, and which part of the networks of how many, as 0 of 2.

In evaluation everything is float32. In training torchvision's networks are float64: their batch norms go over so few values at this
size that a weight's last bit decides on the sign of what a ReLU gets, and gradients of PyTorch's own float32 are up to 3e-2 apart. (In float64, too, PyTorch's gradient of hardswish has a sixth in float32.)
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fixtures"))

import torch

from sections import _programs

torch.set_num_threads(1)
part, parts = int(sys.argv[2]), int(sys.argv[3])
in_float32 = {**_programs.OWN, **_programs.hugging_face()}
networks = {**in_float32, **_programs.torchvision()}
for name, make in list(networks.items())[part::parts]:
    folder = Path(sys.argv[1]) / name
    folder.mkdir()
    if name in in_float32:
        noise = _programs.case(make, folder)
        print(name, *(max(1e-5, 10 * apart) for apart in noise), flush=True)
    else:
        _programs.case(make, folder, modes=("eval",))
        _programs.case(make, folder, modes=("train",), double=True)
        print(name, 1e-10, 1e-6, flush=True)
