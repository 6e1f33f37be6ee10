"""Golden files of golden_test.go: what transformers says about tiny random models.

    pip install torch transformers safetensors numpy
    python make_golden.py [NAME ...]      # transformers 5: NAME.safetensors and NAME.v5.json
    python make_golden.py [NAME ...]      # transformers 4: NAME.v4.json

The weights are not stored: parameter() computes them, here and in the test, from name and index. NAME.safetensors holds, for two
rows of ids, `logits.0` and `logits.1` (T, V), and for the mean cross-entropy over both rows' predicted tokens every gradient as
`gradient.<name>`; its metadata holds ids, loss, a prompt and its greedy continuation. NAME.vN.json is the config.json that
transformers N wrote. The committed files are of torch 2.15.0 with transformers 5.23.0 and 4.57.6.

NAME of ADAPTERS is a folder as PEFT saves an adapter of one of the models, with logits.safetensors, the logits of base and adapter for
the ids in its metadata. The committed ones are of peft 0.21.2 with transformers 5.24.0.
"""

import json
import os
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

M64 = (1 << 64) - 1


def splitmix(x):
    x = (x + 0x9E3779B97F4A7C15) & M64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & M64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & M64
    return x ^ (x >> 31)


def fnv1a(s):
    h = 0xCBF29CE484222325
    for b in s.encode():
        h = ((h ^ b) * 0x100000001B3) & M64
    return h


def uniform(name, i):
    """In [-1, 1), a multiple of 2**-23: exact in float32."""
    return (splitmix((fnv1a(name) + i) & M64) >> 40) / (1 << 23) - 1


def parameter(name, i):
    u = uniform(name, i)
    if name.endswith("norm.weight"):
        return 1 + u / 4
    if name.endswith(".bias"):
        return u / 2
    return u / 4


def ids(name, n, vocab):
    return [int((uniform("ids " + name, i) + 1) / 2 * vocab) for i in range(n)]


def shape(**kw):
    return dict(vocab_size=37, num_hidden_layers=2, intermediate_size=22, max_position_embeddings=128, rms_norm_eps=1e-5, **kw)


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
LINEAR = {"rope_type": "linear", "factor": 2.5}

MODELS = {
    "qwen2-g1": (Qwen2ForCausalLM, Qwen2Config, shape(hidden_size=16, num_attention_heads=4, num_key_value_heads=4, rope_theta=1e6)),
    "qwen2-g7-tied": (Qwen2ForCausalLM, Qwen2Config, shape(
        hidden_size=28, num_attention_heads=7, num_key_value_heads=1, tie_word_embeddings=True, eos_token_id=[3, 4])),
    "qwen2-yarn-mscale": (Qwen2ForCausalLM, Qwen2Config, shape(
        hidden_size=16, num_attention_heads=2, num_key_value_heads=1,
        rope_scaling=YARN | {"mscale": 0.7, "mscale_all_dim": 1.3, "beta_fast": 16.0, "beta_slow": 2.0})),
    "qwen3-linear": (Qwen3ForCausalLM, Qwen3Config, shape(
        hidden_size=18, num_attention_heads=4, num_key_value_heads=2, head_dim=8, rope_scaling=LINEAR)),
    "qwen3-yarn-bias-tied": (Qwen3ForCausalLM, Qwen3Config, shape(
        hidden_size=13, num_attention_heads=4, num_key_value_heads=1, head_dim=10, attention_bias=True, tie_word_embeddings=True,
        rope_scaling=YARN)),
    "qwen3-head128": (Qwen3ForCausalLM, Qwen3Config, shape(
        hidden_size=5, num_attention_heads=2, num_key_value_heads=1, head_dim=128, rope_scaling=LLAMA3) | {"num_hidden_layers": 1}),
    "llama": (LlamaForCausalLM, LlamaConfig, shape(hidden_size=16, num_attention_heads=2, num_key_value_heads=2, rope_theta=500.0)),
    "llama3-tied": (LlamaForCausalLM, LlamaConfig, shape(
        hidden_size=16, num_attention_heads=4, num_key_value_heads=2, head_dim=12, rope_theta=5e5, tie_word_embeddings=True,
        rope_scaling=LLAMA3, eos_token_id=None)),
    "llama-biases": (LlamaForCausalLM, LlamaConfig, shape(
        hidden_size=16, num_attention_heads=4, num_key_value_heads=1, attention_bias=True, mlp_bias=True,
        rope_scaling=YARN | {"attention_factor": 1.25, "truncate": False})),
}


def fill(model, called, which=lambda n: True):
    with torch.no_grad():
        for n, p in model.named_parameters():
            if which(n):
                values = [parameter(called(n), i) for i in range(p.numel())]
                p.copy_(torch.tensor(values, dtype=torch.float64).to(torch.float32).view(p.shape))


def make(name, cls, config, kw):
    major = transformers.__version__.split(".")[0]
    # Both spellings of a missing scaling; theta goes where the version wants it.
    cfg = config(**{k: dict(v) if isinstance(v, dict) else v for k, v in kw.items()})
    model = cls._from_config(cfg, attn_implementation="eager").to(torch.float32)
    fill(model, lambda n: name + "/" + n)
    model.tie_weights()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        with open(os.path.join(folder, "config.json")) as f, open(f"{name}.v{major}.json", "w") as out:
            out.write(f.read())
    if major != "5":
        return

    vocab = cfg.vocab_size
    rows = [ids(name + " 0", 70, vocab), ids(name + " 1", 5, vocab)]
    out, total, count = {}, 0.0, 0
    for i, row in enumerate(rows):
        logits = model(torch.tensor([row])).logits[0]
        out[f"logits.{i}"] = logits.detach().numpy()
        total = total + torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(row[1:]), reduction="sum")
        count += len(row) - 1
    loss = total / count
    loss.backward()
    for n, p in model.named_parameters():
        out["gradient." + n] = p.grad.numpy()

    # A continuation that a rounding cannot turn, and that is more than one token: the best one leads by 1e-3 everywhere.
    for attempt in range(100):
        prompt = ids(f"{name} prompt {attempt}", 9, vocab)
        seq, lead = list(prompt), 1e9
        with torch.no_grad():
            while len(seq) < 9 + 64 and lead > 1e-3:
                top = model(torch.tensor([seq])).logits[0, -1].topk(2)
                lead = min(lead, float(top.values[0] - top.values[1]))
                seq.append(int(top.indices[0]))
        if lead > 1e-3 and len(set(seq[9:])) > 1:
            break
    else:
        raise SystemExit(f"{name}: no continuation with a clear lead")
    save_file(out, f"{name}.safetensors", metadata={
        "transformers": transformers.__version__, "torch": torch.__version__, "ids": json.dumps(rows), "loss": repr(loss.item()),
        "prompt": json.dumps(prompt), "greedy": json.dumps(seq[9:]),
    })
    print(f"{name}: loss {loss.item():.4f}, {sum(p.numel() for p in model.parameters())} parameters, lead {lead:.4f}, greedy {seq[9:25]}…")


ADAPTERS = {
    "peft-plain": ("qwen2-g1", dict(r=8, lora_alpha=12, lora_dropout=0.1, target_modules=["q_proj", "v_proj", "down_proj"])),
    "peft-rslora": ("qwen2-g1", dict(
        r=8, lora_alpha=4, use_rslora=True, target_modules=r"model\.layers\.(0\.self_attn\.(k|o)_proj|1\.mlp\.(up|gate)_proj)")),
}


def adapt(name, of, settings):
    import peft

    cls, config, kw = MODELS[of]
    model = cls._from_config(config(**kw), attn_implementation="eager").to(torch.float32)
    fill(model, lambda n: of + "/" + n)
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **settings))
    fill(model, lambda n: name + "/" + n, lambda n: "lora_" in n)
    model.eval()
    model.save_pretrained(name, save_embedding_layers=False)
    os.remove(os.path.join(name, "README.md"))
    row = ids(name, 20, kw["vocab_size"])
    with torch.no_grad():
        logits = model(torch.tensor([row])).logits[0].numpy()
    save_file({"logits": logits}, os.path.join(name, "logits.safetensors"), metadata={
        "peft": peft.__version__, "transformers": transformers.__version__, "torch": torch.__version__, "ids": json.dumps(row)})


os.chdir(os.path.dirname(os.path.abspath(__file__)))
torch.set_num_threads(1)
for name in sys.argv[1:] or [*MODELS, *ADAPTERS]:
    if name in ADAPTERS:
        adapt(name, *ADAPTERS[name])
    else:
        make(name, *MODELS[name])
