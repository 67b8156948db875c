"""Say what an object graph is as JSON, in the words of `recorder/tests/graph/describe.rs`: objects and storages are numbered as they are
first met, and are numbers from then on, so that equal descriptions mean equal structure, identity and bytes.

    python describe.py LIST

LIST has a line of JSON for each file: {"file", "kind": "zip" | "legacy" | "pickle", "plain", "description"}. Each file is loaded in the ways
that `torch.load` offers (only weights_only=False where not "plain"; also mmap=True where "zip"), or with `pickle.load`, and compared with
its description. Prints what differs, exits with 1 if anything does.
"""

import collections
import copyreg
import json
import pickle
import struct
import sys
import types

import torch


def bits(x):
    return struct.pack(">d", x).hex()


def text(value):
    if all(" " <= c <= "~" for c in value):
        return ["str", value]
    return ["str", None, value.encode("utf-8", "surrogatepass").hex()]


def name(value):
    return f"{value.__module__}.{value.__qualname__}"


class Describer:
    def __init__(self, protocol=2):
        self.protocol = protocol
        self.objects, self.storages = {}, {}
        # Inside sets, whose order differs from run to run, nothing is numbered.
        self.unnumbered = False
        # What is made on the way must not make room for others at its address.
        self.alive = []

    def value(self, value):
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is int:
            return ["int", str(value)]
        if kind is float:
            return ["float", bits(value)]
        if kind is complex:
            return ["complex", bits(value.real), bits(value.imag)]
        if kind is str:
            return text(value)
        if kind is bytes:
            return ["bytes", value.hex()]
        if kind is torch.Size:
            return ["Size", list(value)]
        if kind is torch.device:
            return ["device", str(value)]
        if kind is torch.dtype:
            return ["dtype", str(value).removeprefix("torch.")]
        if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
            return ["class", name(value)]
        if kind in (tuple, frozenset) and not value:
            return [kind.__name__, None, []]
        return self.numbered(value)

    def numbered(self, value):
        number = None
        if not self.unnumbered:
            if (number := self.objects.get(id(value))) is not None:
                return ["ref", number]
            number = self.objects[id(value)] = len(self.objects)
            self.alive.append(value)
        kind = type(value)
        if kind is bytearray:
            return ["bytearray", number, value.hex()]
        if kind in (list, tuple):
            return [kind.__name__, number, self.all(value)]
        if kind in (set, frozenset):
            outside, self.unnumbered = self.unnumbered, True
            items = sorted(self.all(value), key=lambda item: json.dumps(item, separators=(",", ":"), ensure_ascii=False))
            self.unnumbered = outside
            return [kind.__name__, number, items]
        if kind in (dict, collections.OrderedDict):
            entries = self.entries(value.items())
            return [kind.__name__, number, entries, self.attributes(value)]
        if isinstance(value, torch.Tensor):
            return self.tensor(number, value)
        return self.object(number, value)

    def all(self, values):
        return [self.value(value) for value in values]

    def entries(self, entries):
        return [[self.value(key), self.value(value)] for key, value in entries]

    def attributes(self, value):
        state = getattr(value, "__dict__", None)
        return self.value(state) if state else None

    def object(self, number, value):
        """Any other object as the call that pickle writes for it."""
        reduced = value.__reduce_ex__(self.protocol)
        self.alive.append(reduced)
        callable_, args, state, items, entries = (*reduced, None, None, None)[:5]
        how = "call"
        if callable_ is copyreg.__newobj__:
            how, callable_, args = "new", args[0], args[1:]
        described = ["object", number, how, name(callable_), self.all(args)]
        described += [self.all(items or ()), self.entries(entries or ())]
        return described + [None if state is None else self.value(state)]

    def tensor(self, number, tensor):
        if tensor.is_meta:
            data = ["meta", list(tensor.stride())]
        elif tensor.layout is torch.sparse_coo:
            parts = [self.tensor(None, tensor._indices()), self.tensor(None, tensor._values())]
            data = ["torch.sparse_coo", parts[:1], parts[1], tensor.is_coalesced()]
        else:
            data = ["strided", self.storage(tensor.untyped_storage()), tensor.storage_offset(), list(tensor.stride())]
        quantizer = [bits(tensor.q_scale()), tensor.q_zero_point()] if tensor.is_quantized else None
        flags = [tensor.requires_grad, tensor.is_conj(), tensor.is_neg()]
        dtype = str(tensor.dtype).removeprefix("torch.")
        kind = "torch.Tensor" if type(tensor) is torch.Tensor else name(type(tensor))
        return ["tensor", number, kind, dtype, list(tensor.shape), data, quantizer, flags, self.attributes(tensor)]

    def storage(self, storage):
        """Empty storages have no address to be told by."""
        if not len(storage):
            return None
        address = storage.data_ptr()
        if (number := self.storages.get(address)) is not None:
            return number
        self.alive.append(storage)
        number = self.storages[address] = len(self.storages)
        return [number, torch.empty(0, dtype=torch.uint8).set_(storage).numpy().tobytes().hex()]


def describe(value, protocol=2):
    return Describer(protocol).value(value)


def difference(a, b, place="root"):
    """The first place where two descriptions differ."""
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return next((found for i, (x, y) in enumerate(zip(a, b)) if (found := difference(x, y, f"{place}/{i}"))), None)
    # True is 1 to Python.
    return None if (type(a), a) == (type(b), b) else f"{place}:\n  {json.dumps(a)[:400]}\n  {json.dumps(b)[:400]}"


def ways(entry):
    """Every way in which a file can be loaded."""
    if entry["kind"] == "pickle":
        with open(entry["file"], "rb") as file:
            yield "pickle", pickle.load(file)
        return
    for mmap in (False, True) if entry["kind"] == "zip" else (False,):
        yield f"mmap={mmap}", torch.load(entry["file"], mmap=mmap, weights_only=entry["plain"])


def main():
    failures, count = [], 0
    with open(sys.argv[1]) as lines:
        for line in lines:
            entry = json.loads(line)
            count += 1
            try:
                for way, value in ways(entry):
                    if found := difference(entry["description"], describe(value)):
                        failures.append(f"{entry['file']}, {way}: {found}")
            except Exception as error:
                failures.append(f"{entry['file']}: {type(error).__name__}: {str(error)[:300]}")
    print(f"{count} graphs compared")
    if failures:
        sys.exit("\n".join([f"{len(failures)} differ", *failures[:10]]))


if __name__ == "__main__":
    main()
