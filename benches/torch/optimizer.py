"""A step of an optimizer over 50 million parameters, by the fastest path that it has; `zero_grad()` is counted with it: on the other
side, too, a step uses the gradients up and gives their memory back."""

import time

import torch

PATHS = {"single": {}, "foreach": {"foreach": True}, "fused": {"fused": True}}
OPTIONS = {"SGD": {"momentum": 0.9}, "LBFGS": {"max_iter": 4}}
COLUMNS, TOUCHED = 64, 4096


def make(variant, setting):
    name, path = variant.split()
    pairs, size = setting.sized((80, 790), (4, 64))
    shapes = [(size, size), (size,)] * pairs
    if name == "Muon":
        shapes = [(size, size)] * pairs
    if name == "SparseAdam":
        shapes = [(pairs * size * size // COLUMNS, COLUMNS)]
    parameters = [torch.nn.Parameter(torch.rand(shape) - 0.5) for shape in shapes]
    gradients = [torch.rand(shape) - 0.5 for shape in shapes]
    if name == "SparseAdam":
        rows = shapes[0][0]
        touched = torch.arange(TOUCHED) * max(rows // TOUCHED, 1) % rows
        gradients = [torch.sparse_coo_tensor(touched[None], gradients[0][touched], shapes[0]).coalesce()]
    optimizer = getattr(torch.optim, name)(parameters, **OPTIONS.get(name, {}), **PATHS[path])

    def backward():
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient.clone()

    def minimized():
        # The closure is the user's, and not counted.
        outside = 0.0

        def closure():
            nonlocal outside
            begin = time.perf_counter()
            loss = 0.0
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients):
                    parameter.grad = 2 * parameter * gradient
                    loss += (parameter * parameter * gradient).sum().item()
            outside += time.perf_counter() - begin
            return loss

        begin = time.perf_counter()
        optimizer.step(closure)
        return time.perf_counter() - begin - outside

    def step():
        if name == "LBFGS":
            return minimized()
        backward()
        begin = time.perf_counter()
        optimizer.step()
        optimizer.zero_grad()
        return time.perf_counter() - begin

    step()  # makes the state
    return step
