"""How far gradients are from those of float64: retool's, and PyTorch's own in float32.

    pip install torch transformers safetensors
    python float64.py RETOOL FOLDER ["TEXT"]     # a Llama folder, such as that of `make pretrained`

transformers rounds to float32 within norms, rotations and the loss whatever a model's type is; here those of the reference are float64.
Prints each tensor that retool computes worse than PyTorch does, and both relative errors of the whole gradient. The exit code is 1 if
there is such a tensor. Seen on SmolLM2-135M-Instruct with torch 2.15.0 and transformers 5.24.0: none of 272; 2.8e-5 and 5.9e-5.
"""

import os
import subprocess
import sys
import tempfile

import torch
import transformers.models.llama.modeling_llama as llama
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

QUESTION = "Q: A farmer has 17 sheep and buys 25 more, then sells 9. How many are left?\nA: Let me compute 17 + 25 - 9 with Python."
ROUNDED = llama.LlamaRMSNorm.forward, llama.LlamaRotaryEmbedding.forward


def norm(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def rotation(self, x, position_ids):
    size = getattr(self.config, "head_dim", None) or self.config.hidden_size // self.config.num_attention_heads
    rate = self.config.rope_parameters["rope_theta"] ** -(torch.arange(0, size, 2, dtype=torch.float64) / size)
    angle = position_ids[0].double()[:, None] * rate
    angle = torch.cat([angle, angle], -1)[None]
    return angle.cos(), angle.sin()


def gradients(folder, ids, dtype):
    exact = dtype == torch.float64
    llama.LlamaRMSNorm.forward, llama.LlamaRotaryEmbedding.forward = (norm, rotation) if exact else ROUNDED
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")
    model.model.embed_tokens.padding_idx = None  # else the gradient of that row is left out
    torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:]).backward()
    return {name: p.grad.double() for name, p in model.named_parameters()}


def main(retool, folder, text=QUESTION):
    with tempfile.TemporaryDirectory() as dir:
        out = os.path.join(dir, "gradients.safetensors")
        subprocess.run([retool, "score", "--model", folder, "--text", text, "--gradients", out], check=True)
        ours = {name: g.double() for name, g in load_file(out).items()}
    ids = torch.tensor([AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False).input_ids])
    exact, theirs = gradients(folder, ids, torch.float64), gradients(folder, ids, torch.float32)
    assert ours.keys() == exact.keys(), ours.keys() ^ exact.keys()
    error = lambda g: {name: (g[name] - exact[name]).norm().item() for name in exact}
    a, b, size = error(ours), error(theirs), {name: g.norm().item() for name, g in exact.items()}
    worse = [name for name in exact if a[name] > b[name]]
    for name in worse:
        print(f"{name}: retool {a[name] / size[name]:.2e}, PyTorch {b[name] / size[name]:.2e}")
    whole = lambda e: sum(x * x for x in e.values()) ** 0.5
    print(f"{len(exact)} tensors, {len(worse)} of them worse; the whole gradient: retool {whole(a) / whole(size):.2e}, "
          f"PyTorch {whole(b) / whole(size):.2e}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
