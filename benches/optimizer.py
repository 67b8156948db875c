"""PyTorch's side of `cargo bench --bench optimizer`: steps of an optimizer when a line on standard input asks for one.

A line is `<optimizer> <path>`, such as `AdamW fused`; the answer is the seconds that `step()` and `zero_grad()` took: on the
other side, too, a step uses the gradients up and gives their memory back."""

import sys
import time

import torch

torch.manual_seed(0)
PAIRS, SIZE = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(int(sys.argv[3]))
PATHS = {"single": {"foreach": False, "fused": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}
OPTIONS = {"SGD": {"lr": 1e-3, "momentum": 0.9}, "Adam": {"lr": 1e-3}, "AdamW": {"lr": 1e-3}}

parameters, gradients = [], []


def backward():
    for parameter, gradient in zip(parameters, gradients):
        parameter.grad = gradient.clone()


for _ in range(PAIRS):
    for shape in ((SIZE, SIZE), (SIZE,)):
        parameter = torch.nn.Parameter(torch.rand(shape) - 0.5)
        parameters.append(parameter)
        gradients.append(torch.rand(shape) - 0.5)

made = {}
print("ready", torch.__version__, flush=True)
for line in sys.stdin:
    name, path = line.split()
    if name not in made:
        made.clear()  # the state of one optimizer at a time
        made[name] = {}
    if path not in made[name]:
        made[name][path] = getattr(torch.optim, name)(parameters, **OPTIONS[name], **PATHS[path])
        backward()
        made[name][path].step()  # makes the state
    backward()
    begin = time.perf_counter()
    made[name][path].step()
    made[name][path].zero_grad()
    print(time.perf_counter() - begin, flush=True)
