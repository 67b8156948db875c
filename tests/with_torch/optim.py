"""Go on in PyTorch from checkpoints that Rust wrote in the middle of the runs of tests/fixtures/optim, to their end.

    python optim.py FOLDER RUN...
    python optim.py --others FOLDER RUN...

FOLDER has RUN.pt for each; --others are the runs of tests/fixtures/optim_others, by the packages that the optimizers are from: a run whose
package is not there is printed as "RUN absent". Prints for each run its name and how far it ended from the run that never left PyTorch: the largest
relative difference of a loss, and of a parameter and a state tensor in the 2-norm.
"""

import contextlib
import importlib
import sys
from pathlib import Path

FIXTURES = Path(__file__).parents[1] / "fixtures"
sys.path.insert(0, str(FIXTURES))

import json

import torch
from sections import optim as section
from sections.optim import LAST, SAVED_AT, build, checkpoint, far, resume, states_of, train

torch.set_num_threads(1)
arguments = sys.argv[1:]
others = arguments[0] == "--others"
folder, *names = arguments[others:]
section_name = "optim_others" if others else "optim"
if others:
    from sections import optim_others

    # First, since a part of timm is put in its place, which transformers looks for.
    with contextlib.suppress(ImportError):
        importlib.import_module("transformers.optimization")
    section.optim = optim_others.Optimizers()
    section.RUNS = optim_others.RUNS | {"schedule_free_eval": optim_others.RUNS["schedule_free"]}
    section.has_foreach = lambda optimizer: optimizer in optim_others.FOREACH


def is_there(name):
    """Whether the packages of a run's optimizers can be loaded."""
    try:
        return all(getattr(section.optim, about["optimizer"]) for about in section.RUNS[name])
    except (ImportError, AttributeError):
        return False


data = torch.load(FIXTURES / "optim" / "batches.pt")
runs = json.loads((FIXTURES / section_name / "runs.json").read_text())
for name in names:
    if others and not is_there(name):
        print(name, "absent")
        continue
    # Plain, and mapped.
    torch.load(Path(folder) / f"{name}.pt", mmap=True)
    saved = torch.load(Path(folder) / f"{name}.pt")
    made = build(name)
    resume(saved, *made)
    # A schedule-free optimizer that was saved to be evaluated.
    evaluated = [optimizer for optimizer in made[1] if not optimizer.param_groups[0].get("train_mode", True)]
    for optimizer in evaluated:
        optimizer.train()
    losses, lrs = train(*made, data, saved["step"], LAST)
    for optimizer in evaluated:
        optimizer.eval()
    end = torch.load(FIXTURES / section_name / "runs" / f"{name}_end.pt")
    found = checkpoint(*made, LAST, losses[-1])
    since = saved["step"] - SAVED_AT
    assert [[lr.hex() for lr in step] for step in lrs] == runs[name]["lrs"][since:], f"{name}: other learning rates"
    assert found["epoch"] == end["epoch"] and found.keys() == end.keys(), name
    loss = max(abs(a - b) / abs(b) for a, b in zip(losses, runs[name]["losses"][since:], strict=True))
    print(name, loss, far(found["model_state_dict"], end["model_state_dict"]), far(states_of(found), states_of(end)))
