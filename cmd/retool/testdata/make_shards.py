"""Writes shards.index.json: the index that save_pretrained of transformers leaves of the model of qwen3.gguf in files of at most 20 KiB. On the
way it holds that transformers reads what `retool convert --shard` writes as it reads the one file: every tensor, and logits, bit for bit.

    pip install torch transformers safetensors
    python make_shards.py RETOOL

The committed file is of torch 2.15.0 and transformers 5.24.0.
"""

import glob
import os
import shutil
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
GGUF = os.path.join(HERE, "../../../engine/gguf/testdata/qwen3.gguf")
LIMIT = 20 << 10

with tempfile.TemporaryDirectory() as dir:
    one, many, theirs = (os.path.join(dir, name) for name in ("one", "many", "theirs"))
    subprocess.run([sys.argv[1], "convert", GGUF, one], check=True)
    subprocess.run([sys.argv[1], "convert", "--shard", str(LIMIT), GGUF, many], check=True)
    shards = glob.glob(os.path.join(many, "model-*.safetensors"))
    assert len(shards) > 2 and not os.path.exists(os.path.join(many, "model.safetensors")), shards
    a, b = AutoModelForCausalLM.from_pretrained(one), AutoModelForCausalLM.from_pretrained(many)
    x, y = a.state_dict(), b.state_dict()
    assert x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x), "tensors differ"
    ids = torch.tensor([[1, 17, 9, 30, 30, 4, 50]])
    assert torch.equal(a(ids).logits, b(ids).logits), "logits differ"
    a.save_pretrained(theirs, max_shard_size=LIMIT)
    shutil.copy(os.path.join(theirs, "model.safetensors.index.json"), os.path.join(HERE, "shards.index.json"))
    print(len(shards), "shards read by transformers:", len(x), "tensors and the logits are equal")
