"""A network of one's own, trained on handwritten digits, exported, and resumed in Rust without a line of it.

    python train.py                              # writes run.pt (after 3 epochs) and net.pt2, and expect.jsonl: epochs 4 and 5
    rekindle resume run.pt                       # trains epochs 4 and 5 in Rust, beside PyTorch's losses
    python train.py --resume run-resumed.pt      # goes on in PyTorch with what Rust wrote: epoch 6
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "digits" / "digits.csv.gz"
HELD_BACK = 360


class Gate(nn.Module):
    """A layer that no library has: each pixel decides how much of its neighbours it takes."""

    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.mix = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x):
        share = torch.sigmoid(self.scale * x)
        return share * self.mix(x) + (1 - share) * x


class AnyNet(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.gate = Gate(width)
        self.place = nn.Parameter(torch.zeros(16, width))
        self.attend = nn.MultiheadAttention(width, 4, dropout=0.1, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.gate(self.stem(x)), 2)
        x = x.flatten(2).transpose(1, 2) + self.place
        x = self.norm(x + self.attend(x, x, x, need_weights=False)[0])
        return self.head(self.drop(x.mean(1)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--resume")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    rows = np.loadtxt(DATA, delimiter=",", dtype=np.float32)[:-HELD_BACK]
    images = torch.from_numpy(rows[:, :-1].reshape(-1, 1, 8, 8) / 16)
    loader = DataLoader(TensorDataset(images, torch.from_numpy(rows[:, -1].astype(np.int64))), batch_size=64, shuffle=True)

    torch.manual_seed(0)
    model = AnyNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=6 * len(loader))
    epoch = 0
    if args.resume:
        checkpoint = torch.load(args.resume)
        model.load_state_dict(checkpoint["model_state_dict"])
        optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
        scheduler.load_state_dict(checkpoint["scheduler_state_dict"])
        torch.set_rng_state(checkpoint["rng_state"])
        epoch = checkpoint["epoch"]

    def train(epoch):
        lines = []
        for index, (x, y) in enumerate(loader):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            lines.append({"step": epoch * len(loader) + index + 1, "loss": loss.item(), "lr": [optimizer.param_groups[0]["lr"]]})
            scheduler.step()
        return lines

    if args.resume:
        print(f"epoch {epoch + 1}: loss {np.mean([line['loss'] for line in train(epoch)]):.6f}")
        return
    for epoch in range(3):
        train(epoch)
    torch.save(
        {
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "scheduler_state_dict": scheduler.state_dict(),
            "epoch": 3,
            "rng_state": torch.get_rng_state(),
        },
        "run.pt",
    )
    # All that Rust needs of the network: what it computes, for batches of any size.
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(model, (images[:2],), dynamic_shapes=({0: batch},))
    torch.export.save(program, "net.pt2")
    lines = train(3) + train(4)
    Path("expect.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
