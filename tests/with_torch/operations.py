"""Exports operations into the folder, in every element type, with what PyTorch computes of them and, in `limits.json`, how far apart
each result and each gradient may be."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fixtures"))

import torch

from sections import _operations

torch.set_num_threads(1)
folder = Path(sys.argv[1])
limits = {str(dtype).split(".")[1]: _operations.export(dtype, folder) for dtype in _operations.ALL}
(folder / "limits.json").write_text(json.dumps(limits))
