"""Grow random object graphs, save each as PyTorch and pickle can, and say what they are.

    python generate.py FOLDER COUNT

Writes FOLDER/<seed>.zip.pt, <seed>.legacy.pt, <seed>.<protocol>.pkl and FOLDER/graphs.jsonl, a line for each file: {"file", "description"}, in the
words of describe.py. Every protocol from 0 to 5 has its turn.
"""

import argparse
import collections
import datetime
import decimal
import json
import pathlib
import pickle
import random
import sys
import warnings

import numpy
import torch

from describe import describe

DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex128 complex64".split()
UNTYPED = "float8_e5m2 float8_e4m3fn uint16 uint32 uint64 complex32 bits8 float4_e2m1fn_x2".split()
DEPTH = 5


class Thing:
    """A class of a user's own."""


class Slotted:
    __slots__ = ("left", "right")

    # Before protocol 2 there is no other way to pickle slots.
    def __getstate__(self):
        return None, {name: getattr(self, name) for name in self.__slots__ if hasattr(self, name)}


    def __setstate__(self, state):
        for name, value in state[1].items():
            setattr(self, name, value)


class Numbers(list):
    """A list of a user's own."""


class Grower:
    def __init__(self, seed, tensors, untyped):
        self.random = random.Random(seed)
        self.untyped, self.storages = untyped, []
        self.pool, self.room = [], 250
        self.leaves = [self.scalar, self.scalar, self.scalar, self.string, self.string, self.torch_value, self.library, self.again]
        self.nested = [self.list, self.tuple, self.dict, self.dict, self.ordered, self.set, self.holder, self.holder]
        self.nested += [self.tensor, self.tensor, self.tensor, self.parameter] if tensors else []

    def keep(self, value):
        self.pool.append(value)
        return value

    def value(self, depth):
        if not self.room:
            return None
        self.room -= 1
        return self.random.choice(self.leaves if depth <= 0 else self.leaves + self.nested)(depth - 1)

    def values(self, depth):
        return (self.value(depth) for _ in range(self.random.randrange(7)))

    def key(self):
        choices = [self.string, self.string, lambda _: self.random.randrange(-300, 300), lambda _: (self.random.randrange(9), "two")]
        return self.random.choice(choices)(0)

    def again(self, depth):
        return self.random.choice(self.pool) if self.pool else None

    def scalar(self, depth):
        r = self.random
        near = r.randrange(-2, 3)
        floats = [0.0, -0.0, float("nan"), float("inf"), float("-inf"), 5e-324, 1.7976931348623157e308, 0.1, r.gauss(0, 1)]
        power = 2 ** r.randrange(70)
        return r.choice([None, True, False, power + near, -power + near, 2 ** r.randrange(2100), r.choice(floats), complex(r.choice(floats), 1.5)])

    def string(self, depth):
        r = self.random
        plain = r.choice(["", "weight", "a.b", "naïve", "数字", "🦀", "\0 \n\r\t\\u0041'\"", "\x1a\x7f\xff", "lone \ud800", "x" * 300])
        return plain if r.random() < 0.5 else f"{plain}{r.randrange(9)}"

    def torch_value(self, depth):
        r = self.random
        return r.choice([torch.Size([2, 0, 3]), torch.device("cuda:1"), torch.device("cpu"), torch.float32, torch.float8_e4m3fn, torch.int64])

    def library(self, depth):
        r = self.random
        values = [b"", bytes(range(256)), b"abc", range(5), range(10, 0, -3), slice(1, None, 2), decimal.Decimal("1.10")]
        values += [datetime.datetime(2024, 2, 29, 12, 34, 56, 789), datetime.timedelta(1, 2, 3), pathlib.PurePosixPath("/data/run 1")]
        values += [numpy.float64(0.1), numpy.int64(-3), numpy.bool_(True), collections.OrderedDict, int, len]
        values += [frozenset({1, "a"}), frozenset(), bytearray(b"\x00\xff"), bytearray()]
        return r.choice(values)

    def list(self, depth):
        items = self.keep([])
        items.extend(self.values(depth))
        return items

    def tuple(self, depth):
        items = list(self.values(depth))
        made = self.keep(tuple(items))
        inner = next((item for item in items if type(item) is list), None)
        if inner is not None and self.random.random() < 0.2:
            inner.append(made)
        return made

    def fill(self, made, depth):
        self.keep(made)
        for _ in range(self.random.randrange(7)):
            made[self.key()] = self.value(depth)
        return made

    def dict(self, depth):
        return self.fill({}, depth)

    def ordered(self, depth):
        made = self.fill(collections.OrderedDict(), depth)
        if self.random.random() < 0.4:
            made._metadata = self.value(depth)
        return made

    def set(self, depth):
        return self.keep({self.key() for _ in range(self.random.randrange(7))})

    def holder(self, depth):
        """Objects that hold others."""
        r = self.random
        kind = r.randrange(7)
        if kind == 0:
            return self.fill(collections.defaultdict(r.choice([list, None, int])), depth)
        if kind == 1:
            return self.keep(collections.Counter(self.key() for _ in range(9)))
        if kind == 2:
            made = self.keep(collections.deque(maxlen=r.choice([None, 4])))
            made.extend(self.values(depth))
        elif kind == 3:
            # Before protocol 2 it cannot hold itself.
            made = self.keep(Numbers(self.values(depth)))
        elif kind == 4:
            made = self.keep(Slotted())
            made.left = self.value(depth)
        else:
            made = self.keep(r.choice([argparse.Namespace, Thing])())
            for attribute in ("lr", "layers", "itself")[: r.randrange(4)]:
                setattr(made, attribute, self.value(depth))
        return made

    def view(self):
        """A view of a storage, with strides that need not make sense."""
        r = self.random
        dtype = getattr(torch, r.choice(DTYPES + UNTYPED if self.untyped else DTYPES))
        itemsize = torch.empty(0, dtype=dtype).element_size()
        known = [storage for other, storage in self.storages if other == dtype]
        if known and r.random() < 0.6:
            storage = r.choice(known)
        else:
            limit = 2 if dtype is torch.bool else 256
            data = torch.tensor([r.randrange(limit) for _ in range(itemsize * r.randrange(25))], dtype=torch.uint8)
            storage = data.untyped_storage()
            self.storages.append((dtype, storage))
        elements = len(storage) // itemsize
        shape = [r.choice([2, 1, 3, 2, 0, 4]) for _ in range(r.randrange(4))]
        stride = [r.randrange(6) for _ in shape]
        offset = r.randrange(elements + 1) if elements else 0
        last = sum((n - 1) * step for n, step in zip(shape, stride))
        if 0 not in shape and offset + last >= elements:
            shape, stride, offset = [elements], [1], 0
        return torch.empty(0, dtype=dtype).set_(storage, offset, shape, stride)

    def tensor(self, depth):
        r = self.random
        view = self.view()
        differentiable = view.dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
        if view.dtype in (torch.complex64, torch.complex128) and r.random() < 0.5:
            view = view.conj()
        if differentiable and r.random() < 0.2:
            view.requires_grad_()
        if r.random() < 0.15:
            view.tags = self.value(depth)
        if r.random() < 0.1:
            view = torch.empty(view.shape, dtype=torch.bfloat16, device="meta")
        elif r.random() < 0.1:
            places = torch.tensor([[r.randrange(5) for _ in range(3)], [r.randrange(7) for _ in range(3)]])
            view = torch.sparse_coo_tensor(places, torch.tensor([1.0, 2.0, 3.0]), (5, 7))
        return self.keep(view)

    def parameter(self, depth):
        view = self.view()
        floating = view.dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
        made = torch.nn.Parameter(view, requires_grad=floating and self.random.random() < 0.7)
        if self.random.random() < 0.4:
            made.init_scale = self.value(depth)
        return self.keep(made)

    def root(self):
        return self.random.choice([self.list, self.dict, self.tuple])(DEPTH)


def grow(seed, tensors=True, untyped=True):
    return Grower(seed, tensors, untyped).root()


def main():
    folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    warnings.simplefilter("ignore")
    with open(folder / "graphs.jsonl", "w") as lines:

        def tell(path, description):
            print(json.dumps({"file": path.name, "description": description}), file=lines)

        for seed in range(count):
            value, path = grow(seed), folder / f"{seed}.zip.pt"
            torch.save(value, path)
            tell(path, describe(value))
            # PyTorch writes no stream that it can read with element types that have no storage class.
            value, path = grow(seed, untyped=False), folder / f"{seed}.legacy.pt"
            torch.save(value, path, _use_new_zipfile_serialization=False)
            tell(path, describe(value))
            protocol = seed % 6
            value, path = grow(seed, tensors=seed % 4 == 0, untyped=False), folder / f"{seed}.{protocol}.pkl"
            path.write_bytes(pickle.dumps(value, protocol))
            # In a pickle by itself each tensor has a storage of its own.
            tell(path, describe(pickle.loads(path.read_bytes()), protocol))


if __name__ == "__main__":
    main()
