"""A GAN on 8x8 digits: two networks, two optimizers, one checkpoint.

    python train.py        # two epochs, which write run.pt; then two more, whose losses go to expect.jsonl
"""

import csv
import gzip
import json
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.utils.data import DataLoader

HERE = Path(__file__).parent
NOISE = 16


def load_digits():
    with gzip.open(HERE.parent / "digits/digits.csv.gz", "rt") as file:
        rows = torch.tensor([[int(value) for value in row] for row in csv.reader(file)])
    return rows[:, :-1] / 16


def main():
    torch.manual_seed(42)
    loader = DataLoader(load_digits(), batch_size=64, shuffle=True, drop_last=True)
    net_g = nn.Sequential(nn.Linear(NOISE, 32), nn.ReLU(), nn.Linear(32, 64), nn.Sigmoid())
    net_d = nn.Sequential(nn.Linear(64, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
    optimizer_g = torch.optim.Adam(net_g.parameters(), lr=2e-3, betas=(0.5, 0.999))
    optimizer_d = torch.optim.Adam(net_d.parameters(), lr=2e-3, betas=(0.5, 0.999))
    step, lines = 0, []
    for epoch in range(1, 5):
        for real in loader:
            ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
            fake = net_g(torch.randn(len(real), NOISE))
            optimizer_d.zero_grad()
            loss_d = bce(net_d(real), ones) + bce(net_d(fake.detach()), zeros)
            loss_d.backward()
            optimizer_d.step()
            optimizer_g.zero_grad()
            loss_g = bce(net_d(fake), ones)
            loss_g.backward()
            optimizer_g.step()
            step += 1
            if epoch > 2:
                lines.append({"step": step, "loss_d": loss_d.item(), "loss_g": loss_g.item()})
        if epoch == 2:
            torch.save(
                {
                    "epoch": epoch,
                    "netG": net_g.state_dict(),
                    "netD": net_d.state_dict(),
                    "optimizerG": optimizer_g.state_dict(),
                    "optimizerD": optimizer_d.state_dict(),
                    "rng_state": torch.get_rng_state(),
                },
                HERE / "run.pt",
            )
    (HERE / "expect.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
