"""Say whether PyTorch's layers take the state dicts in a folder, and compute with them what was computed.

    python layers.py FOLDER

FOLDER/<name>.pt holds a `state_dict` for the layer of this name in tests/fixtures/sections/layers.py, and the `output` for its
inputs in train mode. The state dict is loaded with strict=True. Prints the relative difference of each output, and exits with 1
where one is above 1e-5, or a layer is missing.
"""

import sys

from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from sections.layers import CASES, made, run

folder = Path(sys.argv[1])
names = {path.stem for path in folder.glob("*.pt")}
if names != set(CASES):
    sys.exit(f"layers on one side only: {sorted(names ^ set(CASES))}")

wrong = []
for name in CASES:
    saved = torch.load(folder / f"{name}.pt")
    layer, inputs, _ = made(name)
    # Batches are counted from 0 in Burn; everything else is in the state dict.
    layer.load_state_dict(saved["state_dict"], strict=True)
    if list(saved["state_dict"]) != list(layer.state_dict()):
        wrong.append(f"{name}: other order")
    with torch.no_grad():
        output = run(name, layer, inputs)
    apart = ((output - saved["output"]).norm() / output.norm()).item()
    print(f"{name}: {apart:.1e} apart")
    if not apart <= 1e-5:
        wrong.append(f"{name}: {apart:.1e} apart")
sys.exit("\n".join(wrong) or 0)
