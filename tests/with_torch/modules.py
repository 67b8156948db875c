"""The layers of tests/fixtures/sections/_modules.py in other types.

    modules.py FOLDER    # NAME.json and NAME.bin as modules.json and modules.bin of the section `nn`, of float64, float16 and bfloat16, with
                         # numbers in float64; of 16 bits a place also says how far PyTorch is from what it computes of the same numbers in
                         # float64. A line for each type: its name, how many layers there are, and which PyTorch does not compute in it
"""

import copy
import json
import sys
import warnings
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fixtures"))
from sections._modules import LAYERS  # noqa: E402
from sections.nn import Places, computed, moved  # noqa: E402

warnings.filterwarnings("ignore")
torch.set_num_threads(1)

# Their random numbers go by the type.
DRAWN = ("rrelu", "fractional")
# In float64 PyTorch multiplies their gradients by numbers of float32.
SINGLE = ("activation_celu", "activation_hardsigmoid")


def noise(found, exact):
    found, exact = torch.tensor(found).double(), torch.tensor(exact).double()
    norm = exact.norm()
    return ((found - exact).norm() / norm if norm else found.norm()).item()


def one(places, dtype, build, rules, call=None, drawn=False, single=False):
    module, about = moved(build)
    wide = copy.deepcopy(module).to(dtype)
    torch.set_default_dtype(dtype)
    own = Places(torch.float64)
    found = computed(own, module, rules, call, dtype)
    start = places.length
    places.parts += own.parts
    places.length += own.length
    if dtype != torch.float64 and not drawn:
        # The same numbers, rounded as they are.
        torch.set_default_dtype(torch.float64)
        exact = Places(torch.float64)
        computed(exact, wide.double(), rules, call, torch.float64, rounded=dtype)
    else:
        exact = None
    numbers = lambda places, at, length: torch.frombuffer(bytearray(b"".join(places.parts)), dtype=torch.float64)[at : at + length].tolist() if length else []

    def placed(place):
        at, length = place
        more = [noise(numbers(own, at, length), numbers(exact, at, length))] if exact and length else []
        return [start + at, length, *more]

    outputs = lambda all: [[shape, placed(place)] for shape, place in all]
    about |= {"inputs": rules, "train": outputs(found["train"]), "eval": outputs(found["eval"])}
    about["buffers"] = {name: placed(place) for name, place in found["buffers"].items()}
    if "of_inputs" in found:
        about["of_inputs"] = [placed(place) + ([1e-8] if single else []) for place in found["of_inputs"]]
        about["of_parameters"] = {name: placed(place) for name, place in found["of_parameters"].items()}
    return about


def main(folder):
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        places, found, without = Places(torch.float64), {}, []
        for name, case in LAYERS.items():
            torch.set_default_dtype(torch.float32)
            if name == "triplet_margin_with_distance_loss_own" and dtype != torch.float64:
                continue  # its distance is the caller's, rounded step by step
            drawn = name.startswith(DRAWN)
            kept = (len(places.parts), places.length)
            try:
                found[name] = one(places, dtype, *case, drawn=drawn, single=name in SINGLE and dtype == torch.float64)
            except (RuntimeError, NotImplementedError, AttributeError) as error:
                del places.parts[kept[0] :]
                places.length = kept[1]
                without.append(name)
        name = str(dtype).removeprefix("torch.")
        (folder / f"{name}.json").write_text(json.dumps(found))
        (folder / f"{name}.bin").write_bytes(b"".join(places.parts))
        print(name, len(found), *without, flush=True)


main(Path(sys.argv[1]))
