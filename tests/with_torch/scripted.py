"""Say whether archives with programs compute with the weights that were put into them.

    python scripted.py ARCHIVE REPLACED STATE_DICT [ARCHIVE REPLACED STATE_DICT ...]

REPLACED is a copy of ARCHIVE with the weights of STATE_DICT. What it computes must be, to the bit, what ARCHIVE computes once PyTorch
itself has loaded STATE_DICT into it, and something else than what ARCHIVE computes by itself. Mobile archives (.ptl) must do so in the
interpreter of phones, too.
"""

import logging
import sys
import warnings
from pathlib import Path

import torch
from torch.jit.mobile import _load_for_lite_interpreter

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fixtures"))
warnings.simplefilter("ignore")
logging.getLogger("torch.export").setLevel(logging.ERROR)  # it tells the older layout by failing with the newer one

INPUTS = {
    "script": lambda: torch.randn(4, 2),
    "mobile": lambda: torch.tensor([[1, 2, 0], [4, 3, 3]]),
    "traced": lambda: torch.tensor([[1, 2, 0], [4, 3, 3]]),
    "quantised": lambda: torch.randn(4, 3),
    "program": lambda: torch.tensor([[1, 2, 0]]),
    "views": lambda: torch.randn(3, 2),
}


def elements(tensor):
    """The elements and, of a quantised tensor, how they are meant."""
    if not tensor.is_quantized:
        return [tensor]
    if tensor.qscheme() == torch.per_tensor_affine:
        return [tensor.int_repr(), torch.tensor([tensor.q_scale(), tensor.q_zero_point()])]
    return [tensor.int_repr(), tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()]


def same(a, b):
    """To the bit: not-a-number is itself."""
    parts = zip(elements(a.detach()), elements(b.detach()))
    return a.dtype == b.dtype and all(x.shape == y.shape and torch.equal(bits(x), bits(y)) for x, y in parts)


def bits(tensor):
    flat = tensor.as_subclass(torch.Tensor).resolve_conj().contiguous().view(-1)
    return flat.view(torch.uint8) if flat.numel() else flat


def open_program(path):
    made = torch.export.load(path)
    return made.state_dict, made.module()


def open_script(path):
    script = torch.jit.load(path)
    return script.state_dict(), script.eval()


def put(weights, found):
    """As load_state_dict, which does not know how to copy quantised elements."""
    with torch.no_grad():
        for name, tensor in found.items():
            tensor.copy_(weights[name])


def check(archive, replaced, state_dict):
    kind = Path(archive).stem.removesuffix("113").removesuffix("28").removesuffix("_old")
    open_ = open_program if archive.endswith(".pt2") else open_script
    weights = torch.load(state_dict)
    found, model = open_(replaced)
    if list(found) != list(weights):
        sys.exit(f"{archive}: the names {list(found)} are not {list(weights)}")
    for name, tensor in found.items():
        if not same(tensor, weights[name]):
            sys.exit(f"{archive}: {name}: {tensor} is not {weights[name]}")
    torch.manual_seed(0)
    x = INPUTS[kind]()
    before = open_(archive)[1](x).detach().clone()
    original = open_(archive)[1]
    if archive.endswith(".pt2"):
        original.load_state_dict(weights)
    else:
        put(weights, original.state_dict())
    expected, got = original(x), [model(x)]
    if archive.endswith(".ptl"):
        got.append(_load_for_lite_interpreter(replaced)(x))
    for output in got:
        if not same(expected, output):
            sys.exit(f"{archive}: {output} is not {expected}")
        if same(before, output):
            sys.exit(f"{archive}: the old weights give the same")


def main():
    arguments = sys.argv[1:]
    for archive, replaced, state_dict in zip(*[iter(arguments)] * 3):
        check(archive, replaced, state_dict)
    print(f"{len(arguments) // 3} archives compute with their new weights")


if __name__ == "__main__":
    main()
