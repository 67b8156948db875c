"""Networks that only answer."""

import torch
from clock import timed
from networks import Gpt, resnet18, tokens


def make(variant, setting):
    def answering(run):
        def turn():
            with torch.inference_mode():
                return timed(run)

        return turn

    if variant.startswith("resnet18"):
        net, images = resnet18(1000).eval(), torch.rand(int(variant.split()[1]), 3, 224, 224)
        return answering(lambda: net(images))
    if variant == "prefill":
        net = Gpt(50257, 1024, *setting.sized((768, 12, 12), (64, 2, 2))).eval()
        text = tokens(0, 1, 512, 50257)
        return answering(lambda: net(text))
    return answering(cached(setting))


def cached(setting):
    """32 tokens one by one after a text of 64, as transformers has it."""
    import copy

    from transformers import GPT2Config, GPT2LMHeadModel

    width, layers, heads = setting.sized((768, 12, 12), (64, 2, 2))
    net = GPT2LMHeadModel(GPT2Config(n_embd=width, n_layer=layers, n_head=heads)).eval()
    with torch.inference_mode():
        seen = net(tokens(0, 1, 64, 50257), use_cache=True).past_key_values

    def run():
        past = copy.deepcopy(seen)
        return [net(tokens(at, 1, 1, 50257), past_key_values=past, use_cache=True).logits for at in range(64, 96)]

    return run
