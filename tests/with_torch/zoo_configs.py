"""Networks that models/src/zoo has by hand, by many configurations: what transformers' config.json, or the shapes of the weights, say of them.

    zoo_configs.py FOLDER    # NAME/ or NAME.pt, NAME-x.safetensors (inputs), NAME-y.safetensors (outputs of PyTorch in evaluation); a line
                             # for each: the name, what to open, how far apart outputs may be (or `refused`), what --model says, and of what
                             # is refused a word that the refusal has. Of 16 bits outputs may be three times as far apart as PyTorch's are from
                             # what it computes of the same numbers in float64
"""

import json
import sys
import warnings
from pathlib import Path

import torch
import torchvision
import transformers
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fixtures"))
from sections.zoo import Mnist  # noqa: E402

warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)

TOKENS = dict(bos_token_id=1, eos_token_id=2)


def llama(**more):
    heads = dict(num_attention_heads=2, num_key_value_heads=1, num_hidden_layers=2)
    sizes = dict(vocab_size=31, hidden_size=32, intermediate_size=20, max_position_embeddings=16)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**sizes, **heads, **TOKENS, **more}))


def rope(kind, length=12, max_position_embeddings=16, **more):
    return lambda: llama(max_position_embeddings=max_position_embeddings, rope_parameters=dict(rope_type=kind, rope_theta=500.0, **more)), length


def gpt2(**more):
    sizes = dict(vocab_size=31, n_positions=16, n_embd=16, n_layer=2, n_head=2)
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **TOKENS, **more))


def bert(kind, **more):
    sizes = dict(vocab_size=31, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, max_position_embeddings=16)
    return kind(transformers.BertConfig(**sizes, **more))


MASKED, CLASSES = transformers.BertForMaskedLM, transformers.BertForSequenceClassification
HALF = 8  # half a head of the Llama above
SHORT, LONG = [1.0 + at / 10 for at in range(HALF)], [2.0 + at / 2 for at in range(HALF)]
# `gelu` and its kin that transformers has; `prelu` and `xielu` have parameters.
ACTIVATIONS = [name for name in transformers.activations.ACT2FN if name not in ("prelu", "xielu")]

# Of transformers: name -> how it is made, and the length of its tokens.
NETWORKS = {
    "llama": (llama, 12),
    "llama_tied": (lambda: llama(tie_word_embeddings=True, pad_token_id=3), 12),
    "llama_biases": (lambda: llama(attention_bias=True, mlp_bias=True, head_dim=6, num_key_value_heads=2), 12),
    "llama_gelu": (lambda: llama(hidden_act="gelu", rms_norm_eps=1e-3, num_key_value_heads=None), 12),
    "llama_last_pad": (lambda: llama(pad_token_id=-1), 12),
    "llama_linear": rope("linear", factor=3.0),
    "llama_dynamic_within": rope("dynamic", 15, factor=2.0),
    "llama_dynamic_at": rope("dynamic", 16, factor=2.0),
    "llama_dynamic_beyond": rope("dynamic", 41, factor=2.5),
    "llama_llama3": rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8),
    "llama_llama3_own_length": rope("llama3", max_position_embeddings=64, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0),
    "llama_yarn": rope("yarn", max_position_embeddings=64, factor=4.0, original_max_position_embeddings=16),
    "llama_yarn_own_length": rope("yarn", 20, factor=4.0),
    "llama_yarn_ratio": rope("yarn", max_position_embeddings=64, factor=None, original_max_position_embeddings=16),
    "llama_yarn_factor": rope("yarn", factor=4.0, original_max_position_embeddings=16, attention_factor=0.7),
    "llama_yarn_betas": rope("yarn", factor=4.0, original_max_position_embeddings=64, beta_fast=8, beta_slow=0.5, truncate=False),
    "llama_yarn_mscale": rope("yarn", factor=40.0, original_max_position_embeddings=16, mscale=1.0, mscale_all_dim=0.5),
    "llama_yarn_one_mscale": rope("yarn", factor=40.0, original_max_position_embeddings=16, mscale=0.707),
    "llama_longrope": rope("longrope", factor=4.0, original_max_position_embeddings=16, short_factor=SHORT, long_factor=LONG),
    "llama_longrope_beyond": rope("longrope", 17, factor=4.0, original_max_position_embeddings=16, short_factor=SHORT, long_factor=LONG),
    "llama_longrope_ratio": rope("longrope", 20, 64, original_max_position_embeddings=16, short_factor=SHORT, long_factor=LONG),
    "llama_longrope_factor": rope("longrope", attention_factor=1.3, original_max_position_embeddings=16, short_factor=SHORT, long_factor=LONG),
    "llama_proportional": rope("proportional", partial_rotary_factor=0.5),
    "llama_proportional_factor": rope("proportional", partial_rotary_factor=0.75, factor=2.0),
    "gpt2": (gpt2, 12),
    "gpt2_untied": (lambda: gpt2(tie_word_embeddings=False, n_inner=20, layer_norm_epsilon=1e-3), 12),
    "gpt2_unscaled": (lambda: gpt2(scale_attn_weights=False), 12),
    "gpt2_inverse": (lambda: gpt2(scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True), 12),
    "gpt2_unscaled_inverse": (lambda: gpt2(scale_attn_weights=False, scale_attn_by_inverse_layer_idx=True), 12),
    **{f"gpt2_{name}": (lambda name=name: gpt2(activation_function=name), 12) for name in ACTIVATIONS},
    "bert": (lambda: bert(transformers.BertModel), 12),
    "bert_types": (lambda: bert(transformers.BertModel, type_vocab_size=3, hidden_act="silu", layer_norm_eps=1e-5, pad_token_id=None), 12),
    "bert_for_masked_lm": (lambda: bert(MASKED), 12),
    "bert_for_masked_lm_untied": (lambda: bert(MASKED, tie_word_embeddings=False, hidden_act="quick_gelu"), 12),
    "bert_for_sequence_classification": (lambda: bert(CLASSES, num_labels=5, classifier_dropout=0.3), 12),
}
# In double precision; rotary embedding is computed in single there, too.
DOUBLE = {"llama_yarn": 1e-6, "gpt2_inverse": 1e-12, "bert": 1e-12, "bert_for_sequence_classification": 1e-12}
NARROW = {"bf16": torch.bfloat16, "f16": torch.float16}
# In 16 bits.
HALF_TEXTS = ["llama", "llama_yarn", "gpt2", "gpt2_inverse", "bert", "bert_for_masked_lm", "bert_for_sequence_classification"]


def resnet(block, layers, **more):
    return torchvision.models.ResNet(block, layers, num_classes=7, **more)


BASIC, NECK = torchvision.models.resnet.BasicBlock, torchvision.models.resnet.Bottleneck
FIFTY = [3, 4, 6, 3]
VIT = dict(image_size=24, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=24, num_classes=5)
DOUBLE_PICTURES = ["resnet18", "vit", "mnist"]
HALF_PICTURES = ["resnet18", "vit", "mnist"]
# Of torchvision and pytorch/examples: name -> how it is made, what --model says, the shape of its inputs.
PICTURES = {
    "resnet18": (lambda: resnet(BASIC, [2, 2, 2, 2]), "resnet18", (2, 3, 40, 33)),
    "resnet34": (lambda: resnet(BASIC, FIFTY), "resnet34", (2, 3, 33, 40)),
    "resnet101": (lambda: resnet(NECK, [3, 4, 23, 3]), "resnet101", (2, 3, 40, 33)),
    "resnet152": (lambda: resnet(NECK, [3, 8, 36, 3]), "resnet152", (2, 3, 33, 40)),
    "resnet50_zero": (lambda: resnet(NECK, FIFTY, zero_init_residual=True), "resnet50(zero_init_residual=true)", (2, 3, 40, 40)),
    "resnext50": (lambda: resnet(NECK, FIFTY, groups=8, width_per_group=4), "resnet50", (2, 3, 40, 40)),
    "resnet50_wide": (lambda: resnet(NECK, FIFTY, width_per_group=96), "resnet50", (2, 3, 40, 40)),
    "resnet50_dilated": (
        lambda: resnet(NECK, FIFTY, replace_stride_with_dilation=[False, True, True]),
        "resnet50(replace_stride_with_dilation=false,true,true)",
        (2, 3, 48, 40),
    ),
    "resnet50_dilated_once": (
        lambda: resnet(NECK, FIFTY, replace_stride_with_dilation=[True, False, True]),
        "resnet50(replace_stride_with_dilation=True,False,True)",
        (2, 3, 48, 40),
    ),
    "vit": (lambda: torchvision.models.VisionTransformer(**VIT), "vit_b_16(num_heads=2)", (2, 3, 24, 24)),
    "mnist": (Mnist, "mnist", (2, 1, 28, 28)),
}

# What is refused: name -> the network, what its config.json says beside, and a word of the refusal.
REFUSED = {
    "llama_su": (llama, {"rope_scaling": {"type": "su", "factor": 2.0}}, "rope_type=su"),
    "llama_partial": (llama, {"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
    "llama_no_factor": (llama, {"rope_scaling": {"type": "linear"}}, "factor=none"),
    "llama_few_factors": (
        llama,
        {"rope_scaling": {"type": "longrope", "short_factor": [1.0, 2.0], "long_factor": [1.0, 2.0], "factor": 2.0}},
        "half a head",
    ),
    "llama_xielu": (llama, {"hidden_act": "xielu"}, "hidden_act=xielu"),
    "gpt2_cross": (gpt2, {"add_cross_attention": True}, "add_cross_attention=true"),
    "gpt2_prelu": (gpt2, {"activation_function": "prelu"}, "activation_function=prelu"),
    "bert_relative": (lambda: bert(MASKED), {"position_embedding_type": "relative_key"}, "position_embedding_type=relative_key"),
    "bert_decoder": (lambda: bert(MASKED), {"is_decoder": True}, "is_decoder=true"),
    "bert_other": (lambda: bert(MASKED), {"model_type": "roberta"}, "model_type=roberta"),
    "bert_pretraining": (lambda: bert(MASKED), {"architectures": ["BertForPreTraining"]}, "architectures=BertForPreTraining"),
    "llama_classifier": (llama, {"architectures": ["LlamaForSequenceClassification"]}, "LlamaForCausalLM ('llama')"),
    "gpt2_heads": (gpt2, {"architectures": ["GPT2DoubleHeadsModel"]}, "architectures=GPT2DoubleHeadsModel"),
}

# As configurations were written before transformers 5: what stands in config.json in the place of `rope_parameters`.
OLD = {
    "llama_old": (lambda: llama(rope_parameters=dict(rope_type="default", rope_theta=500.0)), {"rope_theta": 500.0, "rope_scaling": None}),
    "llama_old_linear": (
        lambda: llama(rope_parameters=dict(rope_type="linear", rope_theta=500.0, factor=4.0)),
        {"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 4.0}},
    ),
    "llama_old_yarn": (
        lambda: llama(rope_parameters=dict(rope_type="yarn", rope_theta=500.0, factor=4.0, original_max_position_embeddings=8)),
        {"rope_theta": 500, "rope_scaling": {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 8}},
    ),
    "llama_old_length": (
        lambda: llama(rope_parameters=dict(rope_type="yarn", rope_theta=500.0, factor=4.0, original_max_position_embeddings=8)),
        {"rope_theta": 500.0, "original_max_position_embeddings": 8, "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 12}},
    ),
}


def model_of(name):
    kinds = ["bert_for_masked_lm", "bert_for_sequence_classification", "bert", "gpt2", "llama"]
    return next(kind for kind in kinds if name.startswith(kind))


def moved(net):
    """Far from its first weights: biases are not 0, scores differ."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return net.eval()


def inputs(net, length, pairs):
    given = {"input_ids": torch.randint(4, 31, (2, length))}
    if pairs:
        given["attention_mask"] = (torch.arange(length) < torch.tensor([length, length - 3])[:, None]).long()
        given["token_type_ids"] = torch.randint(0, net.config.type_vocab_size, (2, length))
    return given


def outputs(net, given):
    with torch.no_grad():
        found = net(**given)
    if "logits" in found:
        return {"logits": found.logits.clone()}
    return {"last_hidden_state": found.last_hidden_state.clone(), "pooler_output": found.pooler_output.clone()}


def limit_of(found, exact):
    """Three times as far as outputs in 16 bits are from what is computed of the same numbers in float64."""
    return max(3 * ((found[key].double() - exact[key]).norm() / exact[key].norm()).item() for key in exact)


def half_one(folder, name, kind):
    """A network of transformers in 16 bits; how far apart outputs may be."""
    build, length = NETWORKS[name]
    torch.manual_seed(0)
    net = moved(build()).to(NARROW[kind])
    given = inputs(net, length, isinstance(net, transformers.BertPreTrainedModel))
    net.save_pretrained(folder / f"{name}_{kind}")
    found = outputs(net, given)
    save_file(given, folder / f"{name}_{kind}-x.safetensors")
    save_file(found, folder / f"{name}_{kind}-y.safetensors")
    return limit_of(found, outputs(net.double(), given))


def transformers_one(folder, name, build, length, double=False, change=None, model=None):
    torch.manual_seed(0)
    net = moved(build())
    net = net.double() if double else net
    given = inputs(net, length, isinstance(net, transformers.BertPreTrainedModel))
    net.save_pretrained(folder / name)
    if change:
        path = folder / name / "config.json"
        config = json.loads(path.read_text())
        if {"rope_theta", "rope_scaling"} & change.keys():
            config.pop("rope_parameters", None)
        path.write_text(json.dumps({**config, **change}))
        if name in OLD:
            # What transformers itself makes of it.
            net = type(net).from_pretrained(folder / name).eval()
    save_file(given, folder / f"{name}-x.safetensors")
    save_file(outputs(net, given), folder / f"{name}-y.safetensors")
    return model or model_of(name)


def main(folder):
    for name, (build, length) in NETWORKS.items():
        print(name, name, 1e-5, transformers_one(folder, name, build, length), flush=True)
    for name, limit in DOUBLE.items():
        build, length = NETWORKS[name]
        print(f"{name}_double", f"{name}_double", limit, transformers_one(folder, f"{name}_double", build, length, double=True), flush=True)
    for kind in NARROW:
        for name in HALF_TEXTS:
            limit = half_one(folder, name, kind)
            print(f"{name}_{kind}", f"{name}_{kind}", limit, model_of(name), flush=True)
    for name, (build, change) in OLD.items():
        print(name, name, 1e-5, transformers_one(folder, name, build, 12, change=change), flush=True)
    for name, (build, change, word) in REFUSED.items():
        model = "bert_for_masked_lm" if name.startswith("bert") else None
        print(name, name, "refused", transformers_one(folder, name, build, 12, change=change, model=model), word, flush=True)
    kinds = {"": (torch.float32, PICTURES), "double": (torch.float64, DOUBLE_PICTURES)}
    kinds |= {kind: (dtype, HALF_PICTURES) for kind, dtype in NARROW.items()}
    for kind, (dtype, names) in kinds.items():
        for name in names:
            build, call, shape = PICTURES[name]
            name += f"_{kind}" if kind else ""
            torch.manual_seed(0)
            net = build()
            for module in net.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.running_mean.normal_(0, 0.1)
                    module.running_var.uniform_(0.5, 1.5)
            net = net.eval()
            with torch.no_grad():
                for parameter in net.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.01)
            net, x = net.to(dtype), torch.randn(shape).to(dtype)
            torch.save(net.state_dict(), folder / f"{name}.pt")
            save_file({"inputs": x}, folder / f"{name}-x.safetensors")
            found = {"output_0": net(x).detach()}
            save_file(found, folder / f"{name}-y.safetensors")
            limit = limit_of(found, {"output_0": net.double()(x.double()).detach()}) if kind in NARROW else 1e-12 if kind else 1e-5
            print(name, f"{name}.pt", limit, call, flush=True)


main(Path(sys.argv[1]))
