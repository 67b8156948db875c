"""Goes on in PyTorch from what Rust has saved, and compares with PyTorch's runs that were never interrupted.

    python training_state.py schedulers|scaler|average FILE

FILE is read with plain torch.load. Prints how many runs went on, and ended bit for bit where they should.
"""

import json
import pathlib
import sys
import warnings

import torch

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
sys.path.insert(0, str(FIXTURES))

from sections import amp_ema, schedulers  # noqa: E402
from sections.optim import tagged  # noqa: E402


def go_on_with_schedulers(saved):
    """{setting: {"optimizer", "scheduler", "first"}} after 20 steps."""
    expected = json.loads((FIXTURES / "schedulers/schedulers.json").read_text())
    for name, (optimizer, scheduler, first) in ((name, parts.values()) for name, parts in saved.items()):
        running = schedulers.Running(schedulers.SETTINGS[name])
        running.load_state_dicts((optimizer, scheduler, first))
        rows = [running.step(step) for step in range(schedulers.HALF + 1, schedulers.STEPS + 1)]
        lrs = [list(column[schedulers.HALF + 1 :]) for column in expected[name]["lrs"]]
        assert [list(column) for column in zip(*(lrs for lrs, _ in rows), strict=True)] == lrs, name
        if expected[name]["momenta"]:
            momenta = [list(column[schedulers.HALF + 1 :]) for column in expected[name]["momenta"]]
            assert [list(column) for column in zip(*(momenta for _, momenta in rows), strict=True)] == momenta, name
        assert tagged(running.scheduler.state_dict()) == expected[name]["states"][2], name
        assert tagged(running.groups()) == expected[name]["groups"][2], name
    assert saved.keys() == expected.keys()


def go_on_with_scaler(saved):
    """{run: {"scaler", "param"}} after 8 of 16 steps."""
    expected = json.loads((FIXTURES / "amp_ema/scaler.json").read_text())
    gradients = amp_ema.scaler_gradients()
    for name, parts in saved.items():
        run = amp_ema.Scaled(amp_ema.SCALERS[name])
        run.scaler.load_state_dict(parts["scaler"])
        run.param.data.copy_(parts["param"])
        half = amp_ema.STEPS // 2
        rows = [run.step(step, gradients[step])[:3] for step in range(half, amp_ema.STEPS)]
        scales, trackers, skipped = (list(column) for column in zip(*rows, strict=True))
        assert (scales, trackers, skipped) == tuple(expected[name][key][half:] for key in ("scales", "trackers", "skipped")), name
        assert tagged(run.scaler.state_dict()) == expected[name]["end"], name
    assert saved.keys() == amp_ema.SCALERS.keys()


def go_on_with_average(saved):
    """{kind: state dict of the average} after 3 of 7 values."""
    expected = torch.load(FIXTURES / "amp_ema/averages.pt")
    for kind, state in saved.items():
        model = amp_ema.network()
        average = amp_ema.AveragedModel(model, **amp_ema.KINDS[kind])
        average.load_state_dict(state)
        for moment in range(3, amp_ema.MOMENTS):
            model.load_state_dict({key: value[moment] for key, value in expected["model"].items()})
            average.update_parameters(model)
        for key, value in average.state_dict().items():
            end = expected[kind][key][-1]
            # An avg_fn of Rust's own is rounded once, PyTorch's after each operation.
            same = torch.allclose(value.double(), end.double(), rtol=3e-7, atol=1e-7) if kind.startswith("own") else value.equal(end)
            assert same, (kind, key)
    assert saved.keys() == amp_ema.KINDS.keys()


def main(what, path):
    warnings.simplefilter("ignore")
    saved = torch.load(path)
    {"schedulers": go_on_with_schedulers, "scaler": go_on_with_scaler, "average": go_on_with_average}[what](saved)
    print(len(saved))


main(*sys.argv[1:])
