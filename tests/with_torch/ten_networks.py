"""Ten networks are trained for five steps, exported and saved; and PyTorch goes on from what was written 20 steps later.

    ten_networks.py make FOLDER    # NAME.pt2, NAME.pt, NAME-batches.safetensors, NAME-expect.jsonl; a line for each:
                                   # the name, `--loss`, and how far apart PyTorch's own losses are otherwise computed
    ten_networks.py go FOLDER      # from NAME-resumed.pt on; a line for each: the name, how far the losses of two more steps are
                                   # from those of the run that PyTorch never left

How far apart PyTorch's own losses are is measured over the same 25 steps without oneDNN. Two networks are
float64: in float32 their batch norms over few values make PyTorch differ from itself by 0.3 (resnet) and 2e-3 (mobilenet).
"""

import contextlib
import copy
import json
import sys
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

warnings.filterwarnings("ignore")
torch.set_num_threads(1)

FIRST, NEXT = 5, 20
NETWORKS = {}


def own_order():
    """Whether dropout draws element by element, as it does where PyTorch does not draw with MKL."""
    torch.manual_seed(0)
    drawn = torch.empty(64).bernoulli_(0.5)
    torch.manual_seed(0)
    return torch.equal(drawn, (torch.rand(64, dtype=torch.float64) < 0.5).float())


P = 0.1 if own_order() else 0.0


def network(*, lr=1e-3, sgd=False, loss="graph", double=False):
    """One of the ten: a function that gives the network and a function that draws the inputs of a step by their names."""

    def add(make):
        NETWORKS[make.__name__] = (make, lr, sgd, loss, double)
        return make

    return add


class Forward(nn.Module):
    """A module whose forward is a function of it and its inputs."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def pictures(classes, *shape):
    return lambda: {"inputs": torch.randn(*shape), "targets": torch.randint(0, classes, shape[:1])}


@network(sgd=True, loss="cross_entropy", double=True)
def resnet():
    from torchvision.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10), pictures(10, 4, 3, 32, 32)


@network(loss="cross_entropy", double=True)
def mobilenet_v3_small():
    from torchvision.models import mobilenet_v3_small

    return mobilenet_v3_small(num_classes=10, dropout=P), pictures(10, 4, 3, 32, 32)


@network(loss="cross_entropy")
def swin():
    from torchvision.models.swin_transformer import SwinTransformer

    net = SwinTransformer(
        [2, 2], 16, [2, 2], [2, 4], [4, 4], num_classes=10, dropout=P, attention_dropout=P, stochastic_depth_prob=2 * P,
    )  # fmt: skip
    return net, pictures(10, 4, 3, 32, 32)


@network(loss="mse")
def unet():
    class Net(Forward):
        def forward(self, x):
            a = self.a(x)
            b = self.b(F.max_pool2d(a, 2))
            c = self.c(F.avg_pool2d(b, 2))
            d = self.d(torch.cat([self.up(c), b], 1))
            return self.o(torch.cat([self.up2(d), a], 1))

    def block(i, o):
        return nn.Sequential(
            nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.SiLU(inplace=True), nn.Dropout2d(P),
            nn.Conv2d(o, o, 3, padding=1), nn.GroupNorm(2, o), nn.LeakyReLU(0.1),
        )  # fmt: skip

    net = Net(
        a=block(1, 8), b=block(8, 16), c=block(16, 16), up=nn.ConvTranspose2d(16, 16, 2, 2), d=block(32, 8),
        o=nn.Conv2d(16, 2, 1), up2=nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    )  # fmt: skip
    return net, lambda: {"inputs": torch.randn(2, 1, 32, 32), "targets": torch.randn(2, 2, 32, 32)}


@network(sgd=True, lr=0.005, loss="bce_with_logits")
def discriminator():
    net = nn.Sequential(
        nn.Conv2d(3, 16, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(16, 32, 4, 2, 1, bias=False), nn.BatchNorm2d(32), nn.LeakyReLU(0.2, inplace=True), nn.Dropout(P),
        nn.Conv2d(32, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64), nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(64, 1, 4, 1, 0, bias=False), nn.Flatten(),
    )  # fmt: skip
    return net, lambda: {"inputs": torch.randn(8, 3, 32, 32), "targets": torch.randint(0, 2, (8, 1)).float()}


@network(loss="cross_entropy")
def lstms():
    class Net(Forward):
        def forward(self, tokens):
            y, _ = self.lstm(self.embed(tokens))
            y, _ = self.gru(y)
            return self.head(y[:, -1])

    net = Net(
        embed=nn.Embedding(40, 16, padding_idx=0), lstm=nn.LSTM(16, 24, 2, batch_first=True, bidirectional=True, dropout=P),
        gru=nn.GRU(48, 16, batch_first=True), head=nn.Linear(16, 5),
    )  # fmt: skip
    return net, lambda: {"inputs": torch.randint(0, 40, (8, 12)), "targets": torch.randint(0, 5, (8,))}


@network(loss="output:0")
def transformer():
    class Net(Forward):
        def forward(self, src, tgt, labels):
            mask = nn.Transformer.generate_square_subsequent_mask(tgt.shape[1])
            src, tgt = self.embed(src) + self.place[: src.shape[1]], self.embed(tgt) + self.place[: tgt.shape[1]]
            logits = self.head(self.transformer(src, tgt, tgt_mask=mask, tgt_is_causal=True))
            return F.cross_entropy(logits.transpose(1, 2), labels, label_smoothing=0.1), logits

    net = Net(
        embed=nn.Embedding(40, 32), place=nn.Parameter(0.02 * torch.randn(12, 32)),
        transformer=nn.Transformer(32, 4, 2, 2, 64, P, batch_first=True), head=nn.Linear(32, 40),
    )  # fmt: skip
    return net, lambda: {name: torch.randint(0, 40, (4, length)) for name, length in (("src", 9), ("tgt", 7), ("labels", 7))}


def text(vocabulary):
    """Tokens of unlike lengths, of which the rest is masked and counts nothing."""
    ids = torch.randint(1, vocabulary, (4, 12))
    mask = (torch.arange(12) < torch.tensor([12, 9, 12, 7])[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


@network()
def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=60, n_positions=16, n_embd=32, n_layer=2, n_head=4, use_cache=False, resid_pdrop=P, embd_pdrop=P, attn_pdrop=P,
    )  # fmt: skip
    return GPT2LMHeadModel(config), lambda: text(60)


@network()
def bert():
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_position_embeddings=16,
        hidden_dropout_prob=P, attention_probs_dropout_prob=P,
    )  # fmt: skip
    return BertForMaskedLM(config), lambda: text(60)


@network()
def vae():
    class Net(Forward):
        def forward(self, x):
            h = self.encode(x)
            mean, logvar = self.mean(h), self.logvar(h)
            z = mean + torch.randn_like(mean) * torch.exp(0.5 * logvar)
            # A layer of one's own: noise as strong as it learns.
            y = self.decode(z)
            y = y + self.noise * torch.rand(y.shape[0], 1)
            loss = F.mse_loss(y, x) - 0.01 * torch.mean(1 + logvar - mean.pow(2) - logvar.exp())
            return {"reconstruction": y, "loss": loss}

    net = Net(
        encode=nn.Sequential(nn.Linear(20, 32), nn.BatchNorm1d(32), nn.ELU(), nn.AlphaDropout(P)), mean=nn.Linear(32, 4),
        logvar=nn.Linear(32, 4), decode=nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 20)),
        noise=nn.Parameter(torch.full((20,), 0.1)),
    )  # fmt: skip
    return net, lambda: {"x": torch.randn(16, 20)}


LOSSES = {"cross_entropy": F.cross_entropy, "mse": F.mse_loss, "bce_with_logits": F.binary_cross_entropy_with_logits}


def arguments(batch, loss):
    """What the network is given, by place and by name."""
    if loss in LOSSES:
        return (batch["inputs"],), {}
    return (), batch


def loss_of(net, batch, loss):
    args, kwargs = arguments(batch, loss)
    out = net(*args, **kwargs)
    if loss in LOSSES:
        return LOSSES[loss](out, batch["targets"])
    return out[0] if isinstance(out, tuple) else out["loss"]


def optimizer_of(net, lr, sgd):
    if sgd:
        return torch.optim.SGD(net.parameters(), lr, momentum=0.9, weight_decay=1e-4, nesterov=True)
    return torch.optim.AdamW(net.parameters(), lr, weight_decay=0.05)


def step(net, optimizer, batch, loss):
    optimizer.zero_grad()
    value = loss_of(net, batch, loss)
    value.backward()
    optimizer.step()
    return value.item()


def made(name):
    make, lr, sgd, loss, double = NETWORKS[name]
    torch.manual_seed(0)
    net, draw = make()
    batches = [draw() for _ in range(FIRST + NEXT + 1)]
    if double:
        net = net.double()
        batches = [{key: x.double() if x.is_floating_point() else x for key, x in batch.items()} for batch in batches]
    return net.train(), batches, lr, sgd, loss


@contextlib.contextmanager
def otherwise():
    """The same sums in another order."""
    with torch.backends.mkldnn.flags(enabled=False):
        yield


def make(folder):
    for name in NETWORKS:
        net, batches, lr, sgd, loss = made(name)
        start = copy.deepcopy(net.state_dict())
        args, kwargs = arguments(batches[0], loss)
        torch.export.save(torch.export.export(net, args, kwargs), folder / f"{name}.pt2")

        def run(save=False):
            net.load_state_dict(start)
            optimizer = optimizer_of(net, lr, sgd)
            torch.manual_seed(1)
            losses = []
            # The last batch is taken twice: what the second loss is depends on the optimizer, too.
            for at, batch in enumerate([*batches, batches[-1]]):
                if save and at == FIRST:
                    torch.save({
                        "epoch": FIRST, "model_state_dict": net.state_dict(), "optimizer_state_dict": optimizer.state_dict(),
                        "rng_state": torch.get_rng_state(),
                    }, folder / f"{name}.pt")  # fmt: skip
                losses.append(step(net, optimizer, batch, loss))
            return losses

        losses = run(save=True)
        lines = [{"step": i + 1, "loss": losses[i], "lr": [lr]} for i in range(FIRST, FIRST + NEXT)]
        (folder / f"{name}-expect.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / f"{name}-uncut.json").write_text(json.dumps(losses[FIRST + NEXT :]))
        later = batches[FIRST:]
        save_file({key: torch.stack([b[key] for b in later]) for key in later[0]}, folder / f"{name}-batches.safetensors")
        with otherwise():
            others = run()
        pairs = list(zip(losses, others))[FIRST : FIRST + NEXT]
        print(name, loss, max(abs(a - b) / abs(a) for a, b in pairs), flush=True)


def go(folder):
    for name in NETWORKS:
        net, batches, lr, sgd, loss = made(name)
        optimizer = optimizer_of(net, lr, sgd)
        saved = torch.load(folder / f"{name}-resumed.pt")
        net.load_state_dict(saved["model_state_dict"])
        optimizer.load_state_dict(saved["optimizer_state_dict"])
        torch.set_rng_state(saved["rng_state"])
        uncut = json.loads((folder / f"{name}-uncut.json").read_text())
        print(name, *(abs(step(net, optimizer, batches[-1], loss) - there) / abs(there) for there in uncut), flush=True)


{"make": make, "go": go}[sys.argv[1]](Path(sys.argv[2]))
