"""Say whether two checkpoints hold equal objects: structure, order, types, dtypes, strides, bytes, and what shares memory with what.

    python compare.py A B [--unsafe]

Both are loaded in every way that `torch.load` offers: plain, with mmap=True, and both again with weights_only=False. With --unsafe
only the last two, for files that plain `torch.load` refuses. Prints the first difference and exits with 1.
"""

import collections
import math
import sys

from pathlib import Path

import numpy
import torch

# Where the classes of the fixtures are.
sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))


class Differ(Exception):
    pass


class Comparison:
    def __init__(self):
        self.objects, self.backwards = {}, {}
        self.storages, self.storages_backwards = {}, {}
        self.alive = []

    def check(self, truth, path, what):
        if not truth:
            raise Differ(f"{path or 'root'}: {what}")

    def pair(self, forth, back, a, b, path, what):
        """Both sides must share in the same places."""
        self.check(forth.setdefault(a, b) == b and back.setdefault(b, a) == a, path, what)

    def values(self, a, b, path=""):
        self.check(type(a) is type(b), path, f"{type(a)} became {type(b)}")
        shared = isinstance(a, (list, dict, set, bytearray, torch.Tensor, collections.deque)) or hasattr(a, "__dict__")
        if shared and not isinstance(a, type):
            seen = id(a) in self.objects
            self.pair(self.objects, self.backwards, id(a), id(b), path, "objects are shared otherwise")
            self.alive.append((a, b))
            if seen:
                return
        if isinstance(a, torch.Tensor):
            self.tensors(a, b, path)
        elif isinstance(a, torch.TypedStorage):
            self.check(a.dtype == b.dtype, path, "another element type")
            self.bytes(a.untyped(), b.untyped(), path)
        elif isinstance(a, torch.UntypedStorage):
            self.bytes(a, b, path)
        elif isinstance(a, dict):
            self.check(len(a) == len(b), path, f"{len(a)} entries became {len(b)}")
            for (key, value), (other_key, other) in zip(a.items(), b.items()):
                self.values(key, other_key, f"{path} key")
                self.values(value, other, f"{path}[{key!r}]")
            self.attributes(a, b, path)
            self.check(getattr(a, "default_factory", None) == getattr(b, "default_factory", None), path, "another default_factory")
        elif isinstance(a, (list, tuple, collections.deque)):
            self.check(len(a) == len(b), path, f"{len(a)} items became {len(b)}")
            for i, (x, y) in enumerate(zip(a, b)):
                self.values(x, y, f"{path}[{i}]")
            self.attributes(a, b, path)
        elif isinstance(a, float):
            self.check(a == b and math.copysign(1, a) == math.copysign(1, b) or a != a and b != b, path, f"{a!r} became {b!r}")
        elif isinstance(a, (numpy.ndarray, numpy.generic)):
            self.check(a.dtype == b.dtype and numpy.shape(a) == numpy.shape(b), path, "another array")
            # The bytes of an array of objects are addresses.
            content = a.dtype.hasobject and a.tolist() == b.tolist() or a.tobytes() == b.tobytes()
            self.check(content, path, "other elements")
        elif isinstance(a, torch.nn.Module):
            self.attributes(a, b, path)
        elif type(a).__eq__ is not object.__eq__:
            self.check(a == b, path, f"{a!r} became {b!r}")
        else:
            self.attributes(a, b, path)

    def attributes(self, a, b, path):
        if getattr(a, "__dict__", None) or getattr(b, "__dict__", None):
            self.values(dict(vars(a)), dict(vars(b)), f"{path}.__dict__")

    def tensors(self, a, b, path):
        # A nested tensor has no shape of its own.
        for name in ("dtype", "layout", "device", "requires_grad", "is_quantized") + (() if a.is_nested else ("shape",)):
            self.check(getattr(a, name) == getattr(b, name), path, f"{name} {getattr(a, name)} became {getattr(b, name)}")
        self.check(a.is_conj() == b.is_conj() and a.is_neg() == b.is_neg(), path, "another conj or neg bit")
        self.attributes(a, b, path)
        if a.is_meta:
            return self.check(a.stride() == b.stride(), path, f"strides {a.stride()} became {b.stride()}")
        if a.is_nested:
            return [self.tensors(x, y, f"{path}[{i}]") for i, (x, y) in enumerate(zip(a.unbind(), b.unbind()))]
        if a.layout is torch.sparse_coo:
            self.check(a.is_coalesced() == b.is_coalesced(), path, "coalesced otherwise")
            self.tensors(a._indices(), b._indices(), f"{path}.indices")
            return self.tensors(a._values(), b._values(), f"{path}.values")
        if a.layout is not torch.strided:
            rows = a.layout in (torch.sparse_csr, torch.sparse_bsr)
            for part in ("crow_indices", "col_indices") if rows else ("ccol_indices", "row_indices"):
                self.tensors(getattr(a, part)(), getattr(b, part)(), f"{path}.{part}")
            return self.tensors(a.values(), b.values(), f"{path}.values")
        if a.is_quantized:
            self.check(a.qscheme() == b.qscheme(), path, "another quantisation scheme")
            if a.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
                self.check((a.q_scale(), a.q_zero_point()) == (b.q_scale(), b.q_zero_point()), path, "another scale")
            else:
                self.check(a.q_per_channel_axis() == b.q_per_channel_axis(), path, "another axis")
                self.tensors(a.q_per_channel_scales(), b.q_per_channel_scales(), f"{path}.scales")
                self.tensors(a.q_per_channel_zero_points(), b.q_per_channel_zero_points(), f"{path}.zero_points")
        self.check(a.stride() == b.stride(), path, f"strides {a.stride()} became {b.stride()}")
        self.check(a.storage_offset() == b.storage_offset(), path, "another offset")
        self.bytes(a.untyped_storage(), b.untyped_storage(), path)

    def bytes(self, left, right, path):
        self.check(len(left) == len(right), path, f"a storage of {len(left)} bytes became one of {len(right)}")
        if len(left):
            seen = left.data_ptr() in self.storages
            self.pair(self.storages, self.storages_backwards, left.data_ptr(), right.data_ptr(), path, "storages are shared otherwise")
            if not seen:
                as_bytes = lambda storage: torch.tensor([], dtype=torch.uint8).set_(storage)
                self.check(torch.equal(as_bytes(left), as_bytes(right)), path, "other bytes")


def main():
    first, second, *flags = sys.argv[1:]
    for weights_only in (False,) if "--unsafe" in flags else (True, False):
        for mmap in (False, True):
            options = {"mmap": mmap, "weights_only": weights_only, "map_location": "cpu"}
            try:
                Comparison().values(torch.load(first, **options), torch.load(second, **options))
            except Differ as difference:
                sys.exit(f"{options}: {difference}")
    # The default of torch.load, to the letter.
    if "--unsafe" not in flags:
        torch.load(second, map_location="cpu")


if __name__ == "__main__":
    main()
