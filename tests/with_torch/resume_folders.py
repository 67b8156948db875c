"""The Trainer and accelerate themselves go on from folders that were written back.

    python resume_folders.py CASE BEFORE AFTER

BEFORE is the folder that the framework saved in the midst of a run, AFTER the one that was written some steps later. The framework goes on
from both to the end of the run; prints by how much the last losses and the weights differ, and the steps that were made.
"""

import os
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from sections import folders  # noqa: E402

STEPS = folders.STEPS + 4


def by_trainer(checkpoint, make, settings):
    from transformers import Trainer, TrainingArguments

    record = folders.Record()
    torch.manual_seed(2)
    model = make(record)
    with tempfile.TemporaryDirectory() as temporary:
        args = TrainingArguments(
            output_dir=temporary,
            per_device_train_batch_size=folders.BATCH,
            max_steps=STEPS,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            seed=11,
            disable_tqdm=True,
            **settings,
        )
        trainer = Trainer(model=model, args=args, train_dataset=folders.dataset())
        trainer.train(resume_from_checkpoint=checkpoint)
    assert trainer.state.global_step == STEPS
    assert abs(trainer.state.epoch - STEPS / 10) < 1e-9, trainer.state.epoch
    return record.losses, model.state_dict()


def by_accelerate(checkpoint):
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    torch.manual_seed(2)
    model = torch.nn.Sequential(*folders.layers())
    weights, biases = [model[0].weight, model[2].weight], [model[0].bias, model[2].bias]
    optimizer = torch.optim.AdamW([{"params": weights}, {"params": biases}], lr=0.5)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)
    progress = folders.Progress()
    accelerator.register_for_checkpointing(progress)
    accelerator.load_state(checkpoint)
    batches = torch.load(Path(__file__).parents[1] / "fixtures/folders/accelerate/batches.pt")
    given = list(zip(batches["inputs"], batches["targets"]))
    # The batches that were gone on with, and then the first of them once more.
    given = given[scheduler.scheduler.last_epoch - folders.SAVED :] + given[: STEPS - folders.STEPS]
    losses = []
    for inputs, targets in given:
        loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        accelerator.backward(loss)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert scheduler.scheduler.last_epoch == STEPS
    return losses, accelerator.unwrap_model(model).state_dict()


CASES = {
    "hf-cosine": lambda folder: by_trainer(folder, folders.Plain, folders.HF_COSINE),
    "hf-shards": lambda folder: by_trainer(folder, folders.pretrained, folders.HF_SHARDS),
    "accelerate": by_accelerate,
}


def main():
    case, before, after = sys.argv[1:]
    torch.set_num_threads(1)
    (theirs, weights), (ours, written) = CASES[case](before), CASES[case](after)
    assert len(ours) == STEPS - folders.STEPS, len(ours)
    apart = max(abs(a - b) / abs(b) for a, b in zip(ours, theirs[-len(ours) :]))
    moved = max((written[name] - weights[name]).abs().max().item() for name in weights)
    print(f"RESULT {len(ours)} {apart} {moved}")


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main()
