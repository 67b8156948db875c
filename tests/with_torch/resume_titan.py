"""PyTorch loads the distributed checkpoint that the command wrote: resume_titan.py CASE WRITTEN.

Prints `RESULT` with the number of states that the optimizer got and the largest difference of a weight from `after.pt`.
"""

import sys
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

case, written = Path(sys.argv[1]), sys.argv[2]
model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
if case.name == "nested":
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
elif case.name == "groups":
    groups = [[p for p in model.parameters() if p.ndim > 1], [p for p in model.parameters() if p.ndim == 1]]
    optimizer = torch.optim.AdamW([{"params": group, "initial_lr": 1.0} for group in groups], lr=1.0)
else:
    optimizer = torch.optim.AdamW([{"params": list(model.parameters()), "initial_lr": 1.0}], lr=1.0)
options = StateDictOptions(flatten_optimizer_state_dict=case.name != "nested")
state = {"model": get_model_state_dict(model), "optimizer": get_optimizer_state_dict(model, optimizer, options=options)}
dcp.load(state, checkpoint_id=written, no_dist=True)
set_model_state_dict(model, state["model"])
set_optimizer_state_dict(model, optimizer, state["optimizer"], options=options)
steps = {int(s["step"]) for s in optimizer.state.values() if "step" in s}
assert steps <= {12}, steps
assert all(group["lr"] < 0.1 for group in optimizer.param_groups), optimizer.param_groups
after = torch.load(case / "after.pt")
apart = max((model.state_dict()[name] - tensor).abs().max().item() for name, tensor in after.items())
print("RESULT", len(optimizer.state), apart)
