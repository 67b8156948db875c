"""Compares files with their copies: PAIRS is a file of JSON lines {"original", "copy", "how"}.

- same: both pickles ask for the same calls with the same arguments, tensors by their elements and places, storages by their bytes
  and by who shares them. Nothing but PyTorch's own tensors is made.
- cpu: plain torch.load, with map_location="cpu", opens both and finds equal tensors
- loads: plain torch.load opens the copy
"""

import json
import pickle
import sys
import types

import torch

class Asked:
    """A call that is not carried out, or an object that is not made."""

    def __new__(cls, *args):
        asked = object.__new__(cls)
        asked.name, asked.args, asked.state = cls.called, args, None
        return asked

    def __init__(self, *args):
        pass

    def __setstate__(self, state):
        self.state = state


def asked(module, name):
    """A class whose instances say what would have been called."""
    return type(name, (Asked,), {"called": f"{module}.{name}"})


# What makes a plain tensor or value is called; all else is written down.
CALLED = {
    "torch._utils": {"_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_tensor", "_rebuild_qtensor", "_rebuild_sparse_tensor"},
    "collections": {"OrderedDict"},
    "torch": None,
    "torch.storage": None,
    "torch.serialization": {"_get_layout"},
    "_codecs": {"encode"},
    "__builtin__": {"set", "complex"},
    "builtins": {"set", "complex"},
}


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        names = CALLED.get(module, ())
        if names is None or name in names:
            return super().find_class(module, name)
        if name == "getattr":
            return lambda owner, attribute: asked(owner.called, attribute)
        return asked(module, name)


def load(path):
    module = types.ModuleType("recording")
    module.Unpickler, module.load, module.__name__ = Unpickler, None, "recording"
    return torch.load(path, map_location="cpu", weights_only=False, pickle_module=module)


def describe(value, seen, storages):
    """What it is, with a number for what was met before."""
    again = lambda inner: describe(inner, seen, storages)
    if isinstance(value, dict) and not value and not getattr(value, "__dict__", None):
        # No hooks, whichever dict there are none in.
        return ["dict"]
    if isinstance(value, (list, dict, set, torch.Tensor, Asked)):
        if id(value) in seen:
            return ["again", seen[id(value)]]
        seen[id(value)] = len(seen)
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided:
            return ["sparse", str(value)]
        storage = value.untyped_storage()
        number = storages.setdefault(storage.data_ptr(), len(storages)) if storage.nbytes() else None
        quantiser = []
        if value.is_quantized and value.qscheme() == torch.per_tensor_affine:
            quantiser = [value.q_scale(), value.q_zero_point()]
        elif value.is_quantized:
            quantiser = [value.q_per_channel_scales().tolist(), value.q_per_channel_zero_points().tolist(), value.q_per_channel_axis()]
        place = [str(value.dtype), list(value.shape), list(value.stride()), value.storage_offset(), value.requires_grad]
        return ["tensor", *place, number, bytes(storage).hex(), quantiser]
    if isinstance(value, Asked):
        return ["asked", value.name, again(value.args), again(value.state)]
    if isinstance(value, dict):
        attributes = again(getattr(value, "__dict__", None))
        return ["dict", type(value).__name__, [[again(key), again(inner)] for key, inner in value.items()], attributes]
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, [again(inner) for inner in value]]
    if isinstance(value, set):
        return ["set", [again(inner) for inner in value]]
    if isinstance(value, type):
        return ["class", getattr(value, "called", f"{value.__module__}.{value.__name__}")]
    if isinstance(value, torch.storage.TypedStorage):
        storage = value._untyped_storage
        return ["storage", str(value.dtype), storages.setdefault(storage.data_ptr(), len(storages)), bytes(storage).hex()]
    return [type(value).__name__, repr(value)]


def equal(a, b):
    if isinstance(a, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and a.requires_grad == b.requires_grad and type(a) is type(b)
        same = same and a.layout == b.layout
        a, b = (tensor if tensor.layout == torch.strided else tensor.to_dense() for tensor in (a, b))
        return same and torch.equal(a, b) and equal(dict(vars(a)), dict(vars(b)))
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def main(path):
    lines = [json.loads(line) for line in open(path)]
    for line in lines:
        original, copy, how = line["original"], line["copy"], line["how"]
        if how == "same":
            ours, theirs = (describe(load(file), {}, {}) for file in (copy, original))
            assert ours == theirs, f"{original}\n{theirs}\n{ours}"
        elif how == "cpu":
            ours = torch.load(copy, map_location="cpu", weights_only=True)
            theirs = torch.load(original, map_location="cpu", weights_only=False)
            assert equal(ours, theirs), f"{original}\n{theirs}\n{ours}"
        else:
            torch.load(copy, weights_only=True)
    print(len(lines), "pairs compared")


main(sys.argv[1])
