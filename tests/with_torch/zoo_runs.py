"""Networks that models/src/zoo has by hand are trained for five steps by PyTorch and saved, each as its own users save it; and PyTorch goes on
from what was written 20 steps later.

    zoo_runs.py make FOLDER    # a checkpoint a network, NAME-batches.safetensors, NAME-expect.jsonl, NAME.pt2 (its program in evaluation),
                               # NAME-x.safetensors (its inputs); a line for each: the name, its checkpoint, what --model says, the name
                               # of its outputs, and how far apart PyTorch's own losses are without oneDNN
    zoo_runs.py go FOLDER      # from NAME-resumed.pt on; a line for each: the name, how far the losses of two more steps are from those
                               # of the run that PyTorch never left
"""

import copy
import json
import sys
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
import transformers
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fixtures"))
from sections.zoo import Mnist, NanoGpt, RNNModel  # noqa: E402

warnings.filterwarnings("ignore")
torch.set_num_threads(1)

FIRST, NEXT = 5, 20


def own_order():
    """Whether dropout draws element by element, as it does where PyTorch does not draw with MKL."""
    torch.manual_seed(0)
    drawn = torch.empty(64).bernoulli_(0.5)
    torch.manual_seed(0)
    return torch.equal(drawn, (torch.rand(64, dtype=torch.float64) < 0.5).float())


P = 0.1 if own_order() else 0.0


def gpt2():
    config = transformers.GPT2Config(vocab_size=60, n_positions=16, n_embd=32, n_layer=2, n_head=4, resid_pdrop=P, embd_pdrop=P, attn_pdrop=P)
    return transformers.GPT2LMHeadModel(config), following


def nanogpt():
    return NanoGpt(60, 16, 32, 2, 4, P, False), following


def llama():
    rope = dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8)
    config = transformers.LlamaConfig(
        vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=64, tie_word_embeddings=True, rope_parameters=rope, bos_token_id=1, eos_token_id=2, attention_dropout=P,
    )
    return transformers.LlamaForCausalLM(config), labelled


def lstm_lm():
    return RNNModel(60, 16, 16, 2, P, True), lambda: following(time_first=True)


def bert_config(**more):
    sizes = dict(vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_position_embeddings=16)
    return transformers.BertConfig(**sizes, hidden_dropout_prob=P, attention_probs_dropout_prob=P, **more)


def bert_for_masked_lm():
    return transformers.BertForMaskedLM(bert_config()), lambda: masked(lambda ids, mask: ids.masked_fill(mask == 0, -100))


def bert_for_sequence_classification():
    config = bert_config(num_labels=3)
    return transformers.BertForSequenceClassification(config), lambda: masked(lambda ids, mask: torch.randint(0, 3, (4,)))


def bert_regression():
    net = transformers.BertForSequenceClassification(bert_config(num_labels=1))
    return net, lambda: masked(lambda ids, mask: torch.randn(4))


def bert_several_numbers():
    net = transformers.BertForSequenceClassification(bert_config(num_labels=3, problem_type="regression"))
    return net, lambda: masked(lambda ids, mask: torch.randn(4, 3))


def bert_multi_label():
    net = transformers.BertForSequenceClassification(bert_config(num_labels=3))
    return net, lambda: masked(lambda ids, mask: torch.randint(0, 2, (4, 3)).float())


def resnet18():
    return torchvision.models.resnet18(num_classes=10), lambda: {"inputs": torch.randn(4, 3, 64, 64), "targets": torch.randint(0, 10, (4,))}


def vit_b_16():
    sizes = dict(image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=64, num_classes=10)
    net = torchvision.models.VisionTransformer(**sizes, dropout=P, attention_dropout=P)
    return net, lambda: {"inputs": torch.randn(4, 3, 32, 32), "targets": torch.randint(0, 10, (4,))}


def mnist():
    return Mnist(P, P), lambda: {"inputs": torch.randn(4, 1, 28, 28), "targets": torch.randint(0, 10, (4,))}


def following(time_first=False):
    tokens = torch.randint(0, 60, (4, 13))
    batch = {"inputs": tokens[:, :-1].contiguous(), "targets": tokens[:, 1:].contiguous()}
    return {key: x.t().contiguous() for key, x in batch.items()} if time_first else batch


def labelled():
    """Tokens whose loss transformers takes itself: labels are the tokens."""
    tokens = torch.randint(0, 60, (4, 12))
    return {"input_ids": tokens, "labels": tokens.clone()}


def masked(labels):
    ids = torch.randint(1, 60, (4, 12))
    mask = (torch.arange(12) < torch.tensor([12, 9, 12, 7])[:, None]).long()
    types = (torch.arange(12) > 5).long().expand(4, 12).contiguous()
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": types, "labels": labels(ids, mask)}


CLASSIFIER = f"bert_for_sequence_classification(num_attention_heads=4,hidden_dropout_prob={P},attention_probs_dropout_prob={P})"
# What --model says: what the file tells is left out.
CALLS = {
    gpt2: "gpt2",  # a folder of transformers' Trainer, with config.json
    nanogpt: "nanogpt",  # model_args in the file
    llama: "llama(num_attention_heads=4,num_key_value_heads=2,rms_norm_eps=1e-6,rope_theta=500,rope_type=llama3,factor=8,low_freq_factor=1,"
    f"high_freq_factor=4,original_max_position_embeddings=8,attention_dropout={P})",
    lstm_lm: f"lstm_lm(dropout={P})",
    bert_for_masked_lm: f"bert_for_masked_lm(num_attention_heads=4,hidden_dropout_prob={P},attention_probs_dropout_prob={P})",
    bert_for_sequence_classification: CLASSIFIER,
    bert_regression: CLASSIFIER,
    bert_several_numbers: CLASSIFIER.replace(")", ",problem_type=regression)"),
    bert_multi_label: CLASSIFIER,
    resnet18: "resnet18",
    vit_b_16: f"vit_b_16(num_heads=4,dropout={P},attention_dropout={P})",
    mnist: f"mnist(dropout1={P},dropout2={P})",
}


def scores_of(net, batch):
    if "input_ids" in batch:
        return net(**{key: x for key, x in batch.items() if key != "labels"}).logits
    out = net(batch["inputs"])
    return out.logits if hasattr(out, "logits") else out


def loss_of(net, batch):
    if "labels" in batch:
        return net(**batch).loss
    scores, targets = scores_of(net, batch), batch["targets"]
    return F.cross_entropy(scores.flatten(0, -2) if scores.dim() == 3 else scores, targets.flatten())


def step(net, optimizer, batch):
    optimizer.zero_grad()
    loss = loss_of(net, batch)
    loss.backward()
    optimizer.step()
    return loss.item()


def optimizer_of(make, net):
    if make is nanogpt:
        # Its configure_optimizers: matrices decay, vectors do not.
        decay = [p for p in net.parameters() if p.dim() >= 2]
        rest = [p for p in net.parameters() if p.dim() < 2]
        groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))
    if make is resnet18:
        return torch.optim.SGD(net.parameters(), 1e-3, momentum=0.9, weight_decay=1e-4)
    if make is mnist:
        return torch.optim.Adadelta(net.parameters(), lr=1.0)
    return torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.05)


def made(make):
    torch.manual_seed(0)
    net, draw = make()
    batches = [draw() for _ in range(FIRST + NEXT + 1)]
    if make is resnet18:
        # In single precision batch norm over few values makes PyTorch differ from itself.
        net, batches = net.double(), [{**batch, "inputs": batch["inputs"].double()} for batch in batches]
    return net.train(), batches


def save(make, net, optimizer, folder):
    """As its users save it; the name of what was saved."""
    name = make.__name__
    if make is gpt2:
        target = folder / name / f"checkpoint-{FIRST}"
        net.save_pretrained(target)
        torch.save(optimizer.state_dict(), target / "optimizer.pt")
        state = {"global_step": FIRST, "epoch": 1.0, "log_history": [], "max_steps": 100, "num_train_epochs": 3}
        (target / "trainer_state.json").write_text(json.dumps(state))
        torch.save({"cpu": torch.get_rng_state(), "python": None, "numpy": None}, target / "rng_state.pth")
        return f"{name}/checkpoint-{FIRST}"
    if make is nanogpt:
        arguments = dict(n_layer=2, n_head=4, n_embd=32, block_size=16, bias=False, vocab_size=60, dropout=P)
        checkpoint = {
            "model": net.state_dict(), "optimizer": optimizer.state_dict(), "model_args": arguments, "iter_num": FIRST,
            "best_val_loss": 4.0, "config": dict(
                learning_rate=1e-3, decay_lr=False, warmup_iters=10, lr_decay_iters=100, min_lr=1e-4, grad_clip=0.0,
                gradient_accumulation_steps=1, dropout=P,
            ),
        }  # fmt: skip
    else:
        checkpoint = {"epoch": FIRST, "model_state_dict": net.state_dict(), "optimizer_state_dict": optimizer.state_dict()}
    torch.save({**checkpoint, "rng_state": torch.get_rng_state()}, folder / f"{name}.pt")
    return f"{name}.pt"


class Scores(torch.nn.Module):
    """The scores alone."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, inputs):
        return scores_of(self.net, {"inputs": inputs})


class OfTokens(Scores):
    def forward(self, input_ids):
        return scores_of(self.net, {"input_ids": input_ids})


class OfPairs(Scores):
    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.net(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).logits


def make(folder):
    for make, call in CALLS.items():
        name = make.__name__
        net, batches = made(make)
        start = copy.deepcopy(net.state_dict())

        def run(saved=None):
            net.load_state_dict(start)
            optimizer = optimizer_of(make, net)
            torch.manual_seed(1)
            losses = []
            # The last batch is taken twice: what the second loss is depends on the optimizer, too.
            for at, batch in enumerate([*batches, batches[-1]]):
                if saved is not None and at == FIRST:
                    saved.append(save(make, net, optimizer, folder))
                    begin = torch.get_rng_state()
                    inputs = {key: x for key, x in batch.items() if key not in ("labels", "targets")}
                    kind = OfPairs if len(inputs) == 3 else OfTokens if "input_ids" in inputs else Scores
                    there = kind(copy.deepcopy(net).eval())
                    torch.export.save(torch.export.export(there, tuple(inputs.values())), folder / f"{name}.pt2")
                    save_file(inputs, folder / f"{name}-x.safetensors")
                    save_file({"scores": there(*inputs.values()).detach().clone()}, folder / f"{name}-y.safetensors")
                    torch.set_rng_state(begin)
                losses.append(step(net, optimizer, batch))
            return losses

        saved = []
        losses = run(saved)
        lines = [{"step": i + 1, "loss": losses[i], "lr": [1e-3]} for i in range(FIRST, FIRST + NEXT)]
        (folder / f"{name}-expect.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / f"{name}-uncut.json").write_text(json.dumps(losses[FIRST + NEXT :]))
        later = batches[FIRST:]
        save_file({key: torch.stack([b[key] for b in later]) for key in later[0]}, folder / f"{name}-batches.safetensors")
        with torch.backends.mkldnn.flags(enabled=False):
            others = run()
        noise = max(abs(a - b) / abs(a) for a, b in list(zip(losses, others))[FIRST : FIRST + NEXT])
        print(name, saved[0], call, noise, flush=True)


def go(folder):
    for make in CALLS:
        name = make.__name__
        net, batches = made(make)
        optimizer = optimizer_of(make, net)
        if make is gpt2:
            written = folder / f"{name}-resumed"
            net = transformers.GPT2LMHeadModel.from_pretrained(written).train()
            optimizer = optimizer_of(make, net)
            optimizer.load_state_dict(torch.load(written / "optimizer.pt"))
            torch.set_rng_state(torch.load(written / "rng_state.pth", weights_only=False)["cpu"])
        else:
            saved = torch.load(folder / f"{name}-resumed.pt")
            model, state = ("model", "optimizer") if make is nanogpt else ("model_state_dict", "optimizer_state_dict")
            net.load_state_dict(saved[model])
            optimizer.load_state_dict(saved[state])
            torch.set_rng_state(saved["rng_state"])
        uncut = json.loads((folder / f"{name}-uncut.json").read_text())
        print(name, *(abs(step(net, optimizer, batches[-1]) - there) / abs(there) for there in uncut), flush=True)


{"make": make, "go": go}[sys.argv[1]](Path(sys.argv[2]))
