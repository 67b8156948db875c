"""Say whether an archive with a program computes with the weights that were put into it.

    python scripted.py ARCHIVE REPLACED STATE_DICT

REPLACED is a copy of ARCHIVE with the weights of STATE_DICT. What it computes must be, to the bit, what ARCHIVE computes once PyTorch
itself has loaded STATE_DICT into it, and something else than what ARCHIVE computes by itself.
"""

import logging
import sys
import warnings
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests" / "fixtures"))
warnings.simplefilter("ignore")
logging.getLogger("torch.export").setLevel(logging.ERROR)  # it tells the older layout by failing with the newer one

INPUTS = {
    "script": lambda: torch.randn(4, 2),
    "mobile": lambda: torch.randn(4, 2),
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


def load(model, weights, found):
    """As load_state_dict, but for what it does not know how to copy: quantised elements, and what goes by other names in `module()`."""
    with torch.no_grad():
        for name, tensor in found.items():
            tensor.copy_(weights[name])


def main():
    archive, replaced, state_dict = sys.argv[1:]
    kind = Path(archive).stem.removesuffix("113").removesuffix("_old")
    open_ = open_program if archive.endswith(".pt2") else open_script
    weights = torch.load(state_dict)
    found, model = open_(replaced)
    if list(found) != list(weights):
        sys.exit(f"the names {list(found)} are not {list(weights)}")
    for name, tensor in found.items():
        if not same(tensor, weights[name]):
            sys.exit(f"{name}: {tensor} is not {weights[name]}")
    old, original = open_(archive)
    torch.manual_seed(0)
    x = INPUTS[kind]()
    before = original(x).detach().clone()
    _, original = open_(archive)
    if archive.endswith(".pt2"):
        original.load_state_dict({name: tensor for name, tensor in weights.items()})
    else:
        load(original, weights, original.state_dict())
    expected, got = original(x), model(x)
    if not same(expected, got):
        sys.exit(f"{got} is not {expected}")
    if same(before, got):
        sys.exit("the old weights give the same")
    print(f"{len(weights)} weights, same outputs")


if __name__ == "__main__":
    main()
