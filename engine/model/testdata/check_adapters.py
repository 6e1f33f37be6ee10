"""Do transformers and PEFT read what a run with LoRA leaves? Trains adapters of rank 8 with retool and compares what all say of them.

    pip install torch transformers peft safetensors numpy
    python check_adapters.py RETOOL [FOLDER]      # FOLDER: SmolLM2-135M as `make pretrained` leaves it

Of a tiny random Qwen2 that transformers wrote, and of FOLDER, it trains an adapter for a few steps of SFT and PPO and prints, for some ids:

    merged    |logits|, the checkpoint by transformers against base and adapter by PEFT
    retool    |logits|, the checkpoint by `retool score` against base and adapter by PEFT
    rollout   |log-probability| of tokens that retool drew with base and adapter, against PEFT
    adapter   what the adapter changes: |logits| of base against base and adapter

Logits are compared beside the largest of them. It fails if one of the first three is above 1e-4.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import peft
import torch
import transformers
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

BOUND = 1e-4
FEW = ["model.lora.rank=8", "model.lora.targets=[all-linear]", "sft.steps=6", "sft.batch=4", "sft.tokens=512", "sft.lr=1e-3", "sft.warmup=1",
       "rl.steps=2", "rl.prompts=4", "rl.group=1", "rl.minibatch=4", "rl.tokens=512", "rl.warmup=1", "rl.lr=1e-3", "eval.problems=3",
       "eval.samples=1", "eval.untrained=false", "eval.every=0", "engine.max_tokens=160", "model.dtype=float32"]


def retool(*args):
    done = subprocess.run([sys.argv[1], *args], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"retool {' '.join(args)}: {done.stderr}")


def qwen2(dir):
    """A random Qwen2 of transformers with the tokenizer of the embedded task."""
    retool("sft", "tiny", "--set", f"run={dir}/embedded", "--set", "eval.problems=0")
    embedded = f"{dir}/embedded/checkpoints/2"
    with open(f"{embedded}/config.json") as f:
        ours = json.load(f)
    torch.manual_seed(1)
    config = Qwen2Config(
        vocab_size=ours["vocab_size"], eos_token_id=ours["eos_token_id"], hidden_size=48, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, intermediate_size=80, max_position_embeddings=512, initializer_range=0.15)
    Qwen2ForCausalLM(config).to(torch.float32).save_pretrained(f"{dir}/qwen2")
    shutil.copy(f"{embedded}/tokenizer.json", f"{dir}/qwen2")
    return f"{dir}/qwen2"


def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def apart(a, b):
    return float(np.abs(a - b).max() / np.abs(b).max())


def check(name, recipe, base, dir):
    run = f"{dir}/run-{name}"
    retool("train", recipe, *(x for s in [f"run={run}", f"model.path={base}", *FEW] for x in ("--set", s)))
    steps = sorted(int(s) for s in os.listdir(f"{run}/checkpoints") if s.isdigit())
    checkpoint = f"{run}/checkpoints/{steps[-1]}"
    with open(f"{run}/trajectories.jsonl") as f:
        records = [json.loads(line) for line in f]
    last = [r for r in records if r["phase"] == "rl" and r["step"] == records[-1]["step"]]

    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    rows = [r["ids"] for r in last]
    before = [logits(plain, ids) for ids in rows]
    both = peft.PeftModel.from_pretrained(plain, f"{checkpoint}/adapter").eval()
    want = [logits(both, ids) for ids in rows]
    merged = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    if any("lora" in n for n, _ in merged.named_parameters()):
        raise SystemExit(f"{name}: transformers takes {checkpoint} for an adapter")

    with open(f"{dir}/rows.jsonl", "w") as f:
        f.writelines(json.dumps({"ids": ids}) + "\n" for ids in rows)
    retool("score", "--model", checkpoint, "--in", f"{dir}/rows.jsonl", "--logits", f"{run}/logits.safetensors", "--dtype", "float32")
    ours = load_file(f"{run}/logits.safetensors")

    rollout, drawn = 0.0, 0
    for r, w in zip(last, want):
        logp = torch.log_softmax(torch.tensor(w, dtype=torch.float64), -1)
        for t, (id, source) in enumerate(zip(r["ids"], r["sources"])):
            if source == "m":
                rollout, drawn = max(rollout, abs(float(logp[t - 1, id]) - r["logprobs"][t])), drawn + 1
    found = {
        "merged": max(apart(logits(merged, ids), w) for ids, w in zip(rows, want)),
        "retool": max(apart(ours[f"logits.{i}"], w) for i, w in enumerate(want)),
        "rollout": rollout,
    }
    moved = max(apart(b, w) for b, w in zip(before, want))
    print(f"{name}: " + "  ".join(f"{k} {v:.1e}" for k, v in found.items()) + f"  adapter {moved:.1e}  ({len(rows)} rows, {drawn} tokens drawn)")
    return drawn > 0 and moved > 10 * BOUND and all(v <= BOUND for v in found.values())


torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()
print(f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}")
with tempfile.TemporaryDirectory() as dir:
    good = check("qwen2", "tiny", qwen2(dir), dir)
    if len(sys.argv) > 2:
        good = check("smollm2-135m", "smollm2-135m", sys.argv[2], dir) and good
sys.exit(0 if good else "check_adapters: beyond the bound")
