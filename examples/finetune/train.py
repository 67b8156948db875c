"""The program that main.rs is, in PyTorch: a network of digits learns to tell even from odd ones.

    python train.py        # ten epochs, whose losses go to expect.jsonl, the accuracy on the samples held back last
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

HERE = Path(__file__).resolve().parent
DIGITS = HERE.parent / "digits"
sys.path.insert(0, str(DIGITS))
from train import HELD_BACK, DigitsNet, accuracy, load_digits  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="how many threads PyTorch may use")
    parser.add_argument("--out", type=Path, default=HERE / "expect.jsonl")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    torch.manual_seed(1)
    model = DigitsNet()
    model.load_state_dict(torch.load(DIGITS / "run.pt")["model_state_dict"])
    model.fc3 = nn.Linear(84, 2)

    # The convolutions stay, and what is new learns faster than what was there.
    groups = [
        {"params": [*model.fc1.parameters(), *model.fc2.parameters()], "lr": 2e-3},
        {"params": model.fc3.parameters(), "lr": 1e-2},
    ]
    optimizer = torch.optim.AdamW(groups)
    images, labels = load_digits()
    labels = labels % 2
    loader = DataLoader(TensorDataset(images[:-HELD_BACK], labels[:-HELD_BACK]), batch_size=64, shuffle=True)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, [2e-3, 1e-2], total_steps=10 * len(loader))

    step, lines = 0, []
    for _ in range(10):
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), targets)
            loss.backward()
            lr = [group["lr"] for group in optimizer.param_groups]
            optimizer.step()
            scheduler.step()
            step += 1
            lines.append({"step": step, "loss": loss.item(), "lr": lr})
    lines.append({"accuracy": accuracy(model, images[-HELD_BACK:], labels[-HELD_BACK:])})
    args.out.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
