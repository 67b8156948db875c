"""Take up one of the runs of `tests/fixtures/sections/optim.py` where Rust left it, go on to its end, and say how far it is from there.

    python whole.py RUN CHECKPOINT.pt

Prints the largest relative differences of a loss, of a parameter and of a state tensor (in the 2-norm) from the run that never
left PyTorch.
"""

import json
import sys
from pathlib import Path

import torch

FIXTURES = Path(__file__).parents[3] / "tests/fixtures"
sys.path.insert(0, str(FIXTURES))
from sections import optim as section

name, path = sys.argv[1:]
torch.set_num_threads(1)
saved = torch.load(path)
made = section.build(name)
section.resume(saved, *made)
losses, lrs = section.train(*made, torch.load(FIXTURES / "optim/batches.pt"), saved["step"], section.LAST)
found = section.checkpoint(*made, section.LAST, losses[-1])

truth = json.loads((FIXTURES / "optim/runs.json").read_text())[name]
end = torch.load(FIXTURES / f"optim/runs/{name}_end.pt")
count = section.LAST - saved["step"]
assert count == 25 and [[lr.hex() for lr in step] for step in lrs] == truth["lrs"][-count:], "other learning rates"
apart = {
    "losses": max(abs(a - b) / abs(b) for a, b in zip(losses, truth["losses"][-count:], strict=True)),
    "weights": section.far(found["model_state_dict"], end["model_state_dict"]),
    "state": section.far(section.states_of(found), section.states_of(end)),
}
print(json.dumps(apart))
