"""torchdata's StatefulDataLoader goes on from states that Rust has saved.

    python stateful_loader.py FILE

FILE holds {"cases": JSON of tests/fixtures/stateful_loader/loaders.json's entries, "states": [...]}, one state a case. Prints the batches
that are left of the epoch and those of the next one, a line of JSON a case.
"""

import json
import sys

import torch
import torchdata.stateful_dataloader as loaders
import torchdata.stateful_dataloader.sampler as samplers
from torch.utils.data import TensorDataset
from torch.utils.data.distributed import DistributedSampler


def loader(case):
    options = dict(case["options"])
    made = {"num_workers": options.pop("workers", 0), "persistent_workers": options.pop("persistent", False)}
    data = TensorDataset(torch.arange(case["rows"]))
    if case["order"] == "shuffle":
        own = options.get("generator")
        made |= {"shuffle": True, "generator": None if own is None else torch.Generator().manual_seed(own)}
    elif case["order"] == "random":
        made["sampler"] = samplers.RandomSampler(data, **options)
    elif case["order"] == "distributed":
        made["sampler"] = DistributedSampler(data, **options)
        made["sampler"].set_epoch(1)
    return loaders.StatefulDataLoader(data, batch_size=case["batch_size"], drop_last=case["drop_last"], **made)


saved = torch.load(sys.argv[1])
for case, state in zip(json.loads(saved["cases"]), saved["states"], strict=True):
    resumed = loader(case)
    resumed.load_state_dict(state)
    print(json.dumps([[batch.tolist() for (batch,) in resumed] for _ in range(2)]))
