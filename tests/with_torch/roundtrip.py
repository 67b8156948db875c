"""Compare files with what was made of them in other formats.

    python roundtrip.py LIST

LIST has a line of JSON for each pair: {"original", "read_as", "plain_original", "copy", "kind", "plain", "equal", "parts"}. `read_as` and `kind` say how the two are
loaded: "zip", "legacy", "pickle", "safetensors", "hf" (a folder) or "numpy". Where "equal", the objects must be the same in everything that
compare.py looks at, in every way that `torch.load` offers (only weights_only=False where not "plain"). Elsewhere the tensors under each path
must be the same in dtype, shape and bytes. Prints what differs, exits with 1 if anything does.
"""

import json
import pickle
import sys
import warnings

from pathlib import Path

import numpy
import torch

from safetensors import safe_open
from safetensors.torch import load_file

from compare import Comparison, Differ


def tied(tensors, metadata):
    """The names that safetensors' save_model leaves out and its load_model puts back."""
    return tensors | {name: tensors[kept] for name, kept in metadata.items() if kept in tensors}


def safetensors_file(path):
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    return tied(load_file(path), metadata)


def hf_folder(path):
    """As transformers finds it: the single file, or the index and the shards that it names."""
    for single, load in (("model.safetensors", safetensors_file), ("pytorch_model.bin", torch.load)):
        if (path / single).exists():
            return load(path / single)
        if (path / f"{single}.index.json").exists():
            index = json.loads((path / f"{single}.index.json").read_text())
            shards = {name: load(path / name) for name in set(index["weight_map"].values())}
            assert {name for shard in shards.values() for name in shard} >= set(index["weight_map"]), "a tensor is missing"
            tensors = {name: shards[shard][name] for name, shard in index["weight_map"].items()}
            return tied(tensors, {name: kept for name, kept in index["metadata"].items() if isinstance(kept, str)})
    raise FileNotFoundError(f"{path} holds no model")


def numpy_file(path):
    loaded = numpy.load(path)
    return loaded if isinstance(loaded, numpy.ndarray) else {name: loaded[name] for name in loaded.files}


def pickle_file(path):
    with open(path, "rb") as file:
        return pickle.load(file)


LOADERS = {"safetensors": safetensors_file, "hf": hf_folder, "numpy": numpy_file, "pickle": pickle_file}


def load(path, kind, **options):
    """The options are for `torch.load`."""
    if kind in LOADERS:
        return LOADERS[kind](Path(path))
    return torch.load(path, map_location="cpu", **options)


def ways(kind, plain):
    if kind in LOADERS:
        return [{}]
    modes = (True, False) if plain else (False,)
    return [{"weights_only": mode, "mmap": mmap} for mode in modes for mmap in ((False, True) if kind == "zip" else (False,))]


def flat(value, path="", above=()):
    """Every tensor and array of numbers with its path, as `rekindle inspect` spells them."""
    if isinstance(value, torch.nn.Module):
        value = dict(value.state_dict())
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, numpy.ndarray) and value.dtype.kind in "biufc":
        yield path, as_tensors(value)
    elif isinstance(value, (dict, list, tuple)) and id(value) not in above:
        above = (*above, id(value))
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            dot = "." if path else ""
            yield from flat(item, f"{path}{dot}{key}" if isinstance(key, str) else f"{path}[{key!r}]", above)


def as_tensors(arrays):
    if isinstance(arrays, dict):
        return {name: as_tensors(array) for name, array in arrays.items()}
    plain = arrays.astype(arrays.dtype.newbyteorder("<"), copy=False)
    return torch.from_numpy(plain.copy(order="K"))


def element_bytes(tensor):
    storage = tensor.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format).untyped_storage()
    return torch.empty(0, dtype=torch.uint8).set_(storage)


class PartsAsViews(Comparison):
    """Old files have storages that are parts of others, which become views of the whole here: the same tensors, at another offset."""

    def tensors(self, a, b, path):
        for name in ("dtype", "shape", "requires_grad"):
            self.check(getattr(a, name) == getattr(b, name), path, f"another {name}")
        self.check(a.stride() == b.stride(), path, "other strides")
        self.check(torch.equal(element_bytes(a), element_bytes(b)), path, "other elements")


def compare_tensors(a, b):
    left, right = dict(flat(a)), dict(flat(b))
    if left.keys() != right.keys():
        raise Differ(f"names {sorted(left.keys() ^ right.keys())[:5]} are in one of them only")
    for name, x in left.items():
        y = right[name]
        if (x.dtype, x.shape) != (y.dtype, y.shape):
            raise Differ(f"{name}: {x.dtype} {x.shape} became {y.dtype} {y.shape}")
        if not torch.equal(element_bytes(x), element_bytes(y)):
            raise Differ(f"{name}: other elements")


def compare(entry):
    for way in ways(entry["kind"], entry["plain"]):
        # What plain torch.load refuses to read may be plain once it is written.
        reading = {"weights_only": way.get("weights_only", False) and entry["plain_original"]}
        original = load(entry["original"], entry["read_as"], **reading)
        copy = load(entry["copy"], entry["kind"], **way)
        try:
            if entry["equal"]:
                (PartsAsViews if entry["parts"] else Comparison)().values(original, copy)
            else:
                compare_tensors(*(as_tensors(x) if kind == "numpy" else x for x, kind in zip((original, copy), (entry["read_as"], entry["kind"]))))
            if entry["kind"] == entry["read_as"] == "numpy":
                before, after = ({"": x} if isinstance(x, numpy.ndarray) else x for x in (original, copy))
                for name, a in before.items():
                    b = after[name]
                    if a.flags.fnc != b.flags.fnc:
                        raise Differ(f"{name}: another order")
        except Differ as difference:
            raise Differ(f"{way}: {difference}")


def main():
    warnings.simplefilter("ignore")
    failures, count = [], 0
    with open(sys.argv[1]) as lines:
        for line in lines:
            entry = json.loads(line)
            count += 1
            try:
                compare(entry)
            except Exception as error:
                failures.append(f"{entry['original']} -> {entry['kind']}: {type(error).__name__}: {str(error)[:400]}")
    print(f"{count} pairs compared")
    if failures:
        sys.exit("\n".join([f"{len(failures)} differ", *failures]))


if __name__ == "__main__":
    main()
