"""Go on in PyTorch from checkpoints that Rust wrote in the middle of the runs of tests/fixtures/optim, to their end.

    python optim.py FOLDER RUN...

FOLDER has RUN.pt for each. Prints for each run its name and how far it ended from the run that never left PyTorch: the largest
relative difference of a loss, and of a parameter and a state tensor in the 2-norm.
"""

import sys
from pathlib import Path

FIXTURES = Path(__file__).parents[1] / "fixtures"
sys.path.insert(0, str(FIXTURES))

import json

import torch
from sections.optim import LAST, SAVED_AT, build, checkpoint, far, resume, states_of, train

torch.set_num_threads(1)
folder, *names = sys.argv[1:]
data = torch.load(FIXTURES / "optim" / "batches.pt")
runs = json.loads((FIXTURES / "optim" / "runs.json").read_text())
for name in names:
    # Plain, and mapped.
    torch.load(Path(folder) / f"{name}.pt", mmap=True)
    saved = torch.load(Path(folder) / f"{name}.pt")
    made = build(name)
    resume(saved, *made)
    losses, lrs = train(*made, data, saved["step"], LAST)
    end = torch.load(FIXTURES / "optim" / "runs" / f"{name}_end.pt")
    found = checkpoint(*made, LAST, losses[-1])
    since = saved["step"] - SAVED_AT
    assert [[lr.hex() for lr in step] for step in lrs] == runs[name]["lrs"][since:], f"{name}: other learning rates"
    assert found["epoch"] == end["epoch"] and found.keys() == end.keys(), name
    loss = max(abs(a - b) / abs(b) for a, b in zip(losses, runs[name]["losses"][since:], strict=True))
    print(name, loss, far(found["model_state_dict"], end["model_state_dict"]), far(states_of(found), states_of(end)))
