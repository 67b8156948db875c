"""Networks and batches that rows train or run; `benches/rows/networks.rs` has the same."""

import torch
from torch import nn
from torch.nn import functional as F


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)
        self.pool = nn.MaxPool2d(2, 2)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x))).flatten(1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.fc = nn.LSTM(64, 128, batch_first=True), nn.Linear(128, 10)

    def forward(self, x):
        return self.fc(self.rnn(x)[0][:, -1])


class Block(nn.Module):
    """nanoGPT's, without dropout."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        parts = self.c_attn(self.ln_1(x)).split(width, dim=2)
        q, k, v = (part.view(batch, length, self.heads, width // self.heads).transpose(1, 2) for part in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).contiguous().view(batch, length, width))
        return x + self.down(F.gelu(self.up(self.ln_2(x))))


class Gpt(nn.Module):
    def __init__(self, tokens=65, places=128, width=384, layers=6, heads=6):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(tokens, width), nn.Embedding(places, width)
        self.h = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_f, self.lm_head = nn.LayerNorm(width), nn.Linear(width, tokens, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x)).flatten(0, 1)


def mlp():
    sizes = [784, 1024, 1024, 1024, 1024, 10]
    layers = [layer for a, b in zip(sizes, sizes[1:]) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def resnet18(classes=10):
    from torchvision.models import resnet18 as net

    return net(num_classes=classes)


def images(batch):
    return torch.rand(batch, 3, 32, 32), torch.arange(batch) % 10


def tokens(first, batch, length, vocabulary):
    return torch.arange(first, first + batch * length).view(batch, length) * 7 % vocabulary


TRAINED = {
    "lenet": (LeNet, lambda: images(64)),
    "resnet18": (resnet18, lambda: images(64)),
    "lstm": (Lstm, lambda: (torch.rand(32, 32, 64), torch.arange(32) % 10)),
    "gpt": (Gpt, lambda: (tokens(0, 8, 128, 65), tokens(1, 8, 128, 65).flatten())),
    "mlp": (mlp, lambda: (torch.rand(128, 784), torch.arange(128) % 10)),
}
