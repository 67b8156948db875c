"""Train a small convolutional network on 8x8 digits, and save and resume it the way the PyTorch tutorials do.

    python train.py                          # 26 epochs; run.pt is written after epoch 13
    python train.py --resume run.pt          # epochs 14 to 26 again, from the file
"""

import argparse
import csv
import gzip
import json
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

HELD_BACK = 360  # the last rows of the file are never trained on
DIGITS = Path(__file__).with_name("digits.csv.gz")


class DigitsNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 16, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(64, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        x = torch.relu(self.fc1(x))
        x = torch.relu(self.fc2(x))
        return self.fc3(x)


def load_digits():
    """Images [N, 1, 8, 8] with values from 0 to 1, and their labels [N]."""
    with gzip.open(DIGITS, "rt") as file:
        rows = torch.tensor([[int(value) for value in row] for row in csv.reader(file)])
    images = rows[:, :-1].reshape(-1, 1, 8, 8) / 16
    return images, rows[:, -1]


def accuracy(model, images, labels):
    model.eval()
    with torch.no_grad():
        right = (model(images).argmax(1) == labels).sum().item()
    model.train()
    return right / len(labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=26, help="train until this epoch (default: 26)")
    parser.add_argument("--save-at", type=int, default=13, help="write run.pt after this epoch (default: 13)")
    parser.add_argument("--resume", metavar="FILE", help="go on from this checkpoint")
    parser.add_argument("--save", metavar="OUT", help="write a checkpoint at the end")
    parser.add_argument("--log", metavar="FILE.jsonl", help="write a line a step: step, loss, lr")
    parser.add_argument("--threads", type=int, help="how many threads PyTorch may use")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    torch.manual_seed(42)
    images, labels = load_digits()
    held_back = images[-HELD_BACK:], labels[-HELD_BACK:]
    loader = DataLoader(TensorDataset(images[:-HELD_BACK], labels[:-HELD_BACK]), batch_size=64, shuffle=True)

    model = DigitsNet()
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=26)
    epoch, last_loss = 0, float("nan")

    if args.resume:
        checkpoint = torch.load(args.resume)
        model.load_state_dict(checkpoint["model_state_dict"])
        optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
        scheduler.load_state_dict(checkpoint["scheduler_state_dict"])
        torch.set_rng_state(checkpoint["rng_state"])
        epoch, last_loss = checkpoint["epoch"], checkpoint["loss"]

    def save(path):
        torch.save(
            {
                "epoch": epoch,
                "model_state_dict": model.state_dict(),
                "optimizer_state_dict": optimizer.state_dict(),
                "scheduler_state_dict": scheduler.state_dict(),
                "loss": last_loss,
                "rng_state": torch.get_rng_state(),
            },
            path,
        )

    log = open(args.log, "w", buffering=1) if args.log else None
    step = epoch * len(loader)
    while epoch < args.epochs:
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(inputs), targets)
            loss.backward()
            optimizer.step()

            step += 1
            last_loss = loss.item()
            total += last_loss
            if log:
                lr = [group["lr"] for group in optimizer.param_groups]
                print(json.dumps({"step": step, "loss": last_loss, "lr": lr}), file=log)
        scheduler.step()
        epoch += 1

        mean = total / len(loader)
        print(f"epoch {epoch:2}  loss {mean:.4f}  held-back accuracy {accuracy(model, *held_back):.4f}")
        if epoch == args.save_at:
            save("run.pt")
    if args.save:
        save(args.save)


if __name__ == "__main__":
    main()
