"""124 million parameters with what AdamW keeps of them are saved."""

import os

import torch
from clock import timed

WIDTH = 768


def make(variant, setting):
    count = -(-setting.sized(124, 4) * 1_000_000 // (WIDTH * WIDTH * 4))
    net = torch.nn.ParameterList(torch.nn.Parameter(torch.rand(WIDTH, 4 * WIDTH)) for _ in range(count))
    optimizer = torch.optim.AdamW(net, fused=True)
    for parameter in net:
        parameter.grad = torch.rand_like(parameter)
    optimizer.step()
    path = os.path.join(setting.disk, "saved-by-torch.pt")
    whole = lambda: {"model": net.state_dict(), "optimizer": optimizer.state_dict()}
    return lambda: timed(lambda: torch.save(whole(), path))
