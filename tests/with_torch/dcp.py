"""Let PyTorch load a distributed checkpoint, and say whether it is what a file of torch.save holds.

    python dcp.py FOLDER FILE [--loads-only]

FOLDER is loaded by `dcp_to_torch_save` and by `dcp.load` into a state dict of zeros; its metadata are compared with those that PyTorch writes
for the same object, unless there are types among it that PyTorch loads and cannot save so (bits8 and the like). Exits with 1 and the first
difference."""

import sys
import tempfile
import warnings
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save, torch_save_to_dcp

warnings.simplefilter("ignore")


def check(truth, path, what):
    if not truth:
        sys.exit(f"{path}: {what}")


def flattened(value):
    """The value as DCP gives it back: keys are strings, dicts without entries are gone."""
    if isinstance(value, dict):
        entries = {str(key): flattened(item) for key, item in value.items()}
        return {key: item for key, item in entries.items() if not (isinstance(item, dict) and not item)}
    if isinstance(value, list):
        return [flattened(item) for item in value]
    return value


def blank(value):
    """The same structure without the content."""
    if isinstance(value, dict):
        return {key: blank(item) for key, item in value.items()}
    if isinstance(value, list):
        return [blank(item) for item in value]
    return torch.empty_like(value.detach()) if isinstance(value, torch.Tensor) else None


def compare(a, b, path=""):
    if isinstance(a, torch.Tensor):
        check(isinstance(b, torch.Tensor), path, f"a tensor became {type(b)}")
        check((a.dtype, a.shape) == (b.dtype, b.shape), path, f"{a.dtype} {a.shape} became {b.dtype} {b.shape}")
        as_bytes = lambda x: x.detach().resolve_conj().resolve_neg().contiguous().view(-1).view(torch.uint8)
        same = a.numel() == 0 or torch.equal(as_bytes(a), as_bytes(b))
        return check(same, path, "other elements")
    check(type(a) is type(b), path, f"{type(a)} became {type(b)}")
    if isinstance(a, dict):
        check(list(a) == list(b), path, f"the keys {list(a)} became {list(b)}")
        for key in a:
            compare(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, (list, tuple)):
        check(len(a) == len(b), path, f"{len(a)} items became {len(b)}")
        for i, (x, y) in enumerate(zip(a, b)):
            compare(x, y, f"{path}[{i}]")
    else:
        check(a == b or a != a and b != b, path, f"{a!r} became {b!r}")


def compare_metadata(folder, file, theirs):
    torch_save_to_dcp(file, theirs)
    ours, original = (dcp.FileSystemReader(place).read_metadata() for place in (folder, theirs))
    check(list(ours.state_dict_metadata) == list(original.state_dict_metadata), "metadata", "other names, or in another order")
    for name, entry in original.state_dict_metadata.items():
        check(ours.state_dict_metadata[name] == entry, f"metadata of {name}", f"{entry} became {ours.state_dict_metadata[name]}")
    check(ours.planner_data == original.planner_data, "metadata", "another planner_data")
    check(ours.storage_data.keys() == original.storage_data.keys(), "metadata", "other keys of storage_data")
    check(list(ours.storage_data) == list(original.storage_data), "metadata", "another order of storage_data")
    check(ours.version == original.version, "metadata", "another version")
    print(f"{len(ours.state_dict_metadata)} items")


def main():
    folder, file, *flags = sys.argv[1:]
    expected = flattened(torch.load(file, weights_only=False))
    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary) / "whole.pt"
        dcp_to_torch_save(folder, whole)
        compare(expected, torch.load(whole, weights_only=False), "dcp_to_torch_save")

        into = blank(expected)
        dcp.load(into, storage_reader=dcp.FileSystemReader(folder), no_dist=True)
        compare(expected, into, "dcp.load")

        if not flags:
            compare_metadata(folder, file, Path(temporary) / "theirs")


if __name__ == "__main__":
    main()
