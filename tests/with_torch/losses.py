"""Resume in PyTorch what Rust wrote, and say how far its losses are from those of the run that never left PyTorch.

    python losses.py TRAIN.py RESUMED.pt EPOCHS TRUTH.jsonl

Prints the largest relative difference and the number of steps.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

train, resumed, epochs, truth = sys.argv[1:]

# Strictly, all three, in both ways of loading, before the script itself does it.
sys.path.insert(0, str(Path(train).parent))
from train import DigitsNet

for mmap in (False, True):
    checkpoint = torch.load(resumed, mmap=mmap)
    model = DigitsNet()
    model.load_state_dict(checkpoint["model_state_dict"], strict=True)
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
    torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=26).load_state_dict(checkpoint["scheduler_state_dict"])

with tempfile.TemporaryDirectory() as folder:
    log = Path(folder) / "log.jsonl"
    subprocess.run([sys.executable, train, "--resume", resumed, "--epochs", epochs, "--log", log], check=True, stdout=subprocess.DEVNULL)
    lines = [[json.loads(line) for line in open(path)] for path in (truth, log)]
assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]], "other steps"
assert [line["lr"] for line in lines[0]] == [line["lr"] for line in lines[1]], "other learning rates"
print(max(abs(a["loss"] - b["loss"]) / abs(a["loss"]) for a, b in zip(*lines)), len(lines[0]))
