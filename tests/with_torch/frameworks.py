"""A framework goes on from a checkpoint of its own and from what was written here after the same steps; prints how many steps it
made and how far the losses of the two are apart, relatively. Exit status 77: the framework is not installed.

    frameworks.py NAME ITS_OWN WRITTEN
"""

import importlib.util
import logging
import sys
import warnings
from pathlib import Path

import torch

warnings.filterwarnings("ignore")
sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from sections import frameworks as runs  # noqa: E402


def lightning(path, module=None, trainer=None, callbacks=(), **more):
    """`Trainer.fit(ckpt_path=...)` for two epochs more."""
    import lightning as L

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    lines = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            lines.append((trainer.current_epoch, trainer.global_step, index, outputs["loss"].item(), runs.rates(trainer.optimizers[0])))

    saved = torch.load(path, weights_only=False)
    trainer = L.Trainer(
        max_epochs=saved["epoch"] + 3, accelerator="cpu", logger=False, callbacks=[*callbacks, Watch()], enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, **(trainer or {}),
    )  # fmt: skip
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*runs.dataset()), batch_size=8)
    trainer.fit(module or runs.lightning_module()(**more), data, ckpt_path=path, weights_only=False)
    lines.append((trainer.current_epoch, trainer.global_step, 0, 1.0, []))
    return lines


def lightning_amid(path):
    return lightning(path, interval="step", criterion=True)


def lightning_two(path):
    return lightning(path, module=runs.lightning_two_module()())


def lightning_average(path):
    from lightning.pytorch.callbacks import EMAWeightAveraging

    return lightning(path, trainer={"accumulate_grad_batches": 2}, callbacks=[EMAWeightAveraging(decay=0.9)])


def timm(path):
    """`resume_checkpoint`, and the schedule made again, as in train.py."""
    from timm.models import resume_checkpoint
    from timm.scheduler import create_scheduler_v2

    model = runs.mlp()
    optimizer = torch.optim.AdamW(
        [{"params": [p for p in model.parameters() if p.dim() < 2]}, {"params": [p for p in model.parameters() if p.dim() >= 2]}]
    )
    start = resume_checkpoint(model, path, optimizer, weights_only=False)
    scheduler, _ = create_scheduler_v2(
        optimizer, sched="cosine", num_epochs=8, warmup_epochs=2, warmup_lr=1e-4, min_lr=1e-5, updates_per_epoch=5, step_on_epochs=True
    )
    scheduler.step(start)
    return [(start, 0, i, *runs.step(model, optimizer, batch)) for i, batch in enumerate(runs.batches(10))]


name, own, written = sys.argv[1:]
if importlib.util.find_spec(name.split("_")[0]) is None:
    print(f"{name} is not installed", file=sys.stderr)
    sys.exit(77)
torch.set_num_threads(1)
a, b = globals()[name](own), globals()[name](written)
if [line[:3] + line[4:] for line in a] != [line[:3] + line[4:] for line in b]:
    sys.exit(f"it is elsewhere, or has other rates:\n{a}\n{b}")
print(len(a), max(abs(x[3] - y[3]) / abs(x[3]) for x, y in zip(a, b)))
