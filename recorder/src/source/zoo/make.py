"""Writes the tables of weights that have names: torchvision.tsv (of torchvision's enums) and open_mmlab.tsv (of mmengine's hub).

    pip download --no-deps mmengine==0.10.7 && unzip mmengine-*.whl -d mmengine
    python recorder/src/source/zoo/make.py mmengine/mmengine/hub

needs torchvision (0.29.2 was used) and that folder; neither is needed to build.
"""

import json
import sys
from pathlib import Path

import torchvision
from torchvision.models import get_model_weights, list_models

HERE = Path(__file__).parent


def write(name, about, columns, rows):
    lines = [f"# {about}", "# " + "\t".join(columns)] + ["\t".join(map(str, row)) for row in rows]
    (HERE / name).write_text("\n".join(lines) + "\n")
    print(name, len(rows))


def joined(value):
    """A number, or numbers of which all are said."""
    if isinstance(value, (list, tuple)):
        return ",".join(f"{x:g}" for x in value)
    return f"{value:g}"


def preset(weights):
    """What pictures are made of before they are classified; '-' for other tasks."""
    made = weights.transforms()
    if type(made).__name__ != "ImageClassification":
        return ["-"] * 5
    return [joined(made.resize_size), joined(made.crop_size), made.interpolation.value, joined(made.mean), joined(made.std)]


def torchvision_rows(old):
    """`old`: the addresses before torchvision 0.13, when a network had one set of weights: those that a bare name means."""
    for network in list_models():
        enum = get_model_weights(network)
        members = list(enum)
        # An alias of members that iteration leaves out.
        default = getattr(enum, "DEFAULT", None)
        bare = [member for member in members if member.url == old.get(network)]
        bare = bare[0] if bare else default
        for member in members:
            marks = "bare" if member is bare else "", "default" if member is default else ""
            task = type(member.transforms()).__name__
            classes = len(member.meta.get("categories") or [])
            marks = ",".join(mark for mark in marks if mark) or "-"
            yield [network, enum.__name__, member.name, marks, member.url, task, classes or "-", *preset(member)]


def open_mmlab_rows(hub):
    tables = [("open-mmlab", "openmmlab.json"), ("mmcls", "mmcls.json")]
    for scheme, file in tables:
        for name, url in json.loads((hub / file).read_text()).items():
            yield [scheme, name, url]
    for name, url in json.loads((hub / "torchvision_0.12.json").read_text()).items():
        if url and name not in list_models():
            yield ["torchvision", name, url]
    # A name that became another.
    for name, other in json.loads((hub / "deprecated.json").read_text()).items():
        yield ["open-mmlab", name, f"open-mmlab://{other}"]


hub = Path(sys.argv[1])
old = json.loads((hub / "torchvision_0.12.json").read_text())
rows = list(torchvision_rows(old))
columns = ["network", "enum", "weights", "marks", "url", "task", "classes", "resize", "crop", "interpolation", "mean", "std"]
write("torchvision.tsv", f"torchvision {torchvision.__version__.split('+')[0]}, by make.py", columns, rows)
write("open_mmlab.tsv", "mmengine 0.10.7, by make.py", ["scheme", "name", "url"], list(open_mmlab_rows(hub)))
