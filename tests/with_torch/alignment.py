"""A file whose storages begin at multiples of another number, beside PyTorch's own: the same bytes but for the id, and places that a loader
can work out."""

import sys
import zipfile

import torch
import torch.utils.serialization

ours, theirs, alignment = sys.argv[1], sys.argv[2], int(sys.argv[3])
config = torch.utils.serialization.config
with config.patch({"load.calculate_storage_offsets": True}):
    read = torch.load(ours, mmap=True)
with config.patch({"save.storage_alignment": alignment}):
    torch.save(read, theirs)
with zipfile.ZipFile(ours) as one, zipfile.ZipFile(theirs) as other:
    names = [[entry.filename.split("/", 1)[1] for entry in archive.infolist()] for archive in (one, other)]
    assert names[0] == names[1], names
    places = [[entry.header_offset for entry in archive.infolist()] for archive in (one, other)]
    assert places[0] == places[1], places
    for a, b in zip(one.infolist(), other.infolist()):
        assert a.filename.endswith("serialization_id") or one.read(a) == other.read(b), a.filename
    print(f"{len(names[0])} records at multiples of {alignment}")
