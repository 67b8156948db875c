"""What a Run of Rust's wrote of a model with rows of its own, against PyTorch: START holds first weights and data, RUN is the checkpoint after
some of its steps. PyTorch takes the same steps from START, and goes on from RUN; says how far the two are apart, before and after.

    run_rows.py START RUN
"""

import sys

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(4, 8, bias=False)
        self.k = nn.Linear(4, 8, bias=False)
        self.v = nn.Linear(4, 6, bias=False)
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        gate = torch.tanh((self.q(x) * self.k(x)).sum(1, keepdim=True)) + 1
        return self.out(self.v(x) * gate)


class Running:
    def __init__(self, weights):
        self.net = Net()
        self.net.load_state_dict(weights)
        self.optimizer = torch.optim.AdamW(self.net.parameters())
        self.average = AveragedModel(self.net, multi_avg_fn=get_ema_multi_avg_fn(0.5))

    def load(self, run):
        self.net.load_state_dict(run["model_state_dict"])
        self.optimizer.load_state_dict(run["optimizer_state_dict"])
        self.average.load_state_dict(run["ema_state_dict"])
        return self

    def step(self, inputs, targets):
        self.optimizer.zero_grad()
        nn.functional.mse_loss(self.net(inputs), targets).backward()
        self.optimizer.step()
        self.average.update_parameters(self.net)

    def tensors(self):
        yield from self.net.state_dict().items()
        yield from self.average.state_dict().items()
        for place, state in self.optimizer.state_dict()["state"].items():
            yield from ((f"state[{place}].{name}", value) for name, value in state.items())


def apart(one, other):
    pairs = list(zip(one.tensors(), other.tensors(), strict=True))
    assert all(a[0] == b[0] and a[1].shape == b[1].shape for a, b in pairs)
    return max((a.double() - b.double()).abs().max().item() for (_, a), (_, b) in pairs)


start, run = torch.load(sys.argv[1]), torch.load(sys.argv[2])
theirs = Running(start["model"])
steps = int(run["optimizer_state_dict"]["state"][0]["step"])
for i in range(steps):
    theirs.step(start["inputs"][i], start["targets"][i])
ours = Running(start["model"]).load(run)
before = apart(theirs, ours)
for i in range(steps, len(start["inputs"])):
    theirs.step(start["inputs"][i], start["targets"][i])
    ours.step(start["inputs"][i], start["targets"][i])
print(steps, before, apart(theirs, ours))
