"""Writes the fixtures of the tests: small GGUF files, and what the reference library says of them.

    pip install gguf==0.19.0 && python make_golden.py

types.gguf      tensors of every type that is read, of random blocks, and metadata of every type
rounding.gguf   numbers that are hard to round, and the same in F16, BF16 and Q8_0
llama.gguf …    models of each architecture with a tokenizer
golden.json     by file and tensor: SHA-256 of the numbers, float32 little-endian, in the order and under the names of a Hugging Face folder
"""

import hashlib
import json

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFValueType as V

rng = np.random.default_rng(12)
golden = {}


def digest(x):
    return hashlib.sha256(np.ascontiguousarray(x, dtype="<f4").tobytes()).hexdigest()


def write(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def raw(w, name, shape, t, data):
    w.add_tensor(name, data, raw_shape=gguf.quant_shape_to_byte_shape(shape, t), raw_dtype=t)


HALVES = np.array([0.01, -0.37, 2.5e-7, 6e-8, -6e-5, 0.0, 1.0, -60000.0], dtype=np.float16)  # subnormal ones among them
SCALES = {T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}


def types():
    w = gguf.GGUFWriter("types.gguf", "llama")
    values = {
        "u8": (V.UINT8, 200), "i8": (V.INT8, -100), "u16": (V.UINT16, 60000), "i16": (V.INT16, -30000), "u32": (V.UINT32, 4000000000),
        "i32": (V.INT32, -2000000000), "f32": (V.FLOAT32, 0.15625), "bool": (V.BOOL, True), "string": (V.STRING, "naïve 模型"),
        "u64": (V.UINT64, 2**63 + 1), "i64": (V.INT64, -(2**62)), "f64": (V.FLOAT64, 0.1),
    }
    for name, (kind, v) in values.items():
        w.add_key_value("one." + name, v, kind)
        w.add_key_value("list." + name, [v, v], V.ARRAY, sub_type=kind)
    out = {}
    for t in [T.F32, T.F16, T.BF16, *SCALES]:
        block, size = gguf.GGML_QUANT_SIZES[t]
        rows, n = 4, 2 if block > 1 else 9
        data = rng.integers(0, 256, (rows * n, size), dtype=np.uint8)
        for at in SCALES.get(t, []):
            data[:, at : at + 2] = rng.choice(HALVES, rows * n).view(np.uint8).reshape(-1, 2)
        if t == T.F32:
            data = rng.normal(size=(rows, n)).astype(np.float32)
        elif t == T.F16:
            data = np.resize(HALVES, (rows, n))
        elif t == T.BF16:
            data = gguf.quantize(rng.normal(size=(rows, n)).astype(np.float32), t)
        data = data.reshape(rows, -1)
        if t == T.F32 or t == T.F16:
            w.add_tensor(t.name, data)
        else:
            raw(w, t.name, (rows, block * n), t, data)
        out[t.name] = digest(gguf.dequantize(data, t))
    write(w)
    golden["types.gguf"] = out


def rounding():
    w = gguf.GGUFWriter("rounding.gguf", "llama")
    b = np.float32
    hard = [0.0, -0.0, 1.0, 65504.0, -65504.0, 65519.0, 6e-8, 3e-8, 2.98e-8, 2.99e-8, 6.1e-5, 6.0975e-5, 6.1035e-5, 1e-30, -1e-41]
    hard += [b(1) + b(k) * b(2**-12) for k in range(8)] + [b(2**-14) + b(k) * b(2**-26) for k in range(8)]
    x = np.array(hard + [0.0], dtype=np.float32)  # 32
    whole = np.arange(-16, 16, dtype=np.float32) / 2  # halves between the steps of Q8_0
    whole[0] = 127
    rows = [x, whole, np.zeros(32, np.float32), np.full(32, -1e-30, np.float32)]
    rows += list(rng.normal(size=(28, 32)).astype(np.float32) * np.logspace(-6, 4, 28, dtype=np.float32)[:, None])
    x = np.stack(rows)
    w.add_tensor("F32", x)
    w.add_tensor("F16", x.astype(np.float16))
    for t in [T.BF16, T.Q8_0]:
        raw(w, t.name, x.shape, t, gguf.quantize(x, t))
    write(w)


SHARED = dict(hidden=32, ffn=64, heads=4, kv=2, dim=8, layers=1)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PIECES = list("!?.,'0123456789abcdefghijklmnopqrstuvwxyzĠĊ") + ["th", "the", "Ġa", "an", "in", "Ġthe", "10"]
MERGES = ["t h", "th e", "Ġ a", "a n", "i n", "Ġ the", "1 0"]


def permute(x, heads):
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def unpermute(x, heads):
    return x.reshape(heads, x.shape[0] // heads // 2, 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def model(file, arch, matrices, tied, bias=False, pre="smollm", rope=None):
    s = SHARED
    w = gguf.GGUFWriter(file, arch)
    w.add_type("model")
    w.add_name("Golden")
    w.add_license("none")
    first = arch == "llama"  # special tokens before the vocabulary, as SmolLM2 has them, or after it
    tokens = SPECIAL + PIECES if first else PIECES + ["<tool_call>"] + SPECIAL
    kinds = [3 if t in SPECIAL else 4 if t == "<tool_call>" else 1 for t in tokens]
    while len(tokens) % 32:
        kinds.append(5)
        tokens.append(f"[PAD{len(tokens)}]")
    w.add_context_length(512)
    w.add_embedding_length(s["hidden"])
    w.add_block_count(s["layers"])
    w.add_feed_forward_length(s["ffn"])
    w.add_head_count(s["heads"])
    w.add_head_count_kv(s["kv"])
    if arch == "qwen3":
        w.add_key_length(16)
        w.add_value_length(16)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(50000.0)
    if rope:
        w.add_rope_scaling_type(gguf.RopeScalingType(rope))
        w.add_rope_scaling_factor(4.0)
        if rope == "yarn":
            w.add_rope_scaling_orig_ctx_len(128)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list(tokens)
    w.add_token_types(kinds)
    w.add_token_merges(MERGES)
    w.add_bos_token_id(tokens.index("<|im_start|>"))
    w.add_eos_token_id(tokens.index("<|im_end|>"))
    w.add_eot_token_id(tokens.index("<|endoftext|>"))
    w.add_pad_token_id(tokens.index("<|endoftext|>"))
    w.add_add_bos_token(arch == "llama")
    w.add_chat_template("{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>\n{% endfor %}")
    w.add_file_type(0)

    out = {}
    dim = 16 if arch == "qwen3" else s["dim"]

    def add(name, hf, *shape, heads=0, t=None):
        x = rng.normal(size=shape).astype(np.float32)
        t = t or (T.F32 if len(shape) == 1 else matrices)
        heads = heads if arch == "llama" else 0
        if heads:
            x = permute(x, heads)
        data = gguf.quantize(x, t)
        if t == T.F32 or t == T.F16:
            w.add_tensor(name, data)
        else:
            raw(w, name, shape, t, data)
        y = gguf.dequantize(data, t).reshape(shape)
        out[hf] = [list(shape), digest(unpermute(y, heads) if heads else y)]

    q, kv, c, f = s["heads"] * dim, s["kv"] * dim, s["hidden"], s["ffn"]
    add("token_embd.weight", "model.embed_tokens.weight", len(tokens), c, t=T.Q8_0)
    if rope is None and arch == "llama" and bias:
        freqs = 50000.0 ** (np.arange(0, dim, 2) / dim)
        turns = 64 / (2 * np.pi * freqs)
        blend = np.clip((turns - 1) / 3, 0, 1)
        w.add_tensor("rope_freqs.weight", (1 / ((1 - blend) / 8 + blend)).astype(np.float32))
    p, h = "blk.0.", "model.layers.0."
    add(p + "attn_norm.weight", h + "input_layernorm.weight", c)
    for name, hf, rows, cols, heads, b in [
        ("attn_q", "self_attn.q_proj", q, c, s["heads"], bias or arch == "qwen2"), ("attn_k", "self_attn.k_proj", kv, c, s["kv"], bias or arch == "qwen2"),
        ("attn_v", "self_attn.v_proj", kv, c, 0, bias or arch == "qwen2"), ("attn_output", "self_attn.o_proj", c, q, 0, bias),
        ("ffn_gate", "mlp.gate_proj", f, c, 0, bias), ("ffn_up", "mlp.up_proj", f, c, 0, bias), ("ffn_down", "mlp.down_proj", c, f, 0, bias),
    ]:
        add(p + name + ".weight", h + hf + ".weight", rows, cols, heads=heads)
        if b:
            add(p + name + ".bias", h + hf + ".bias", rows, heads=heads)
    if arch == "qwen3":
        add(p + "attn_q_norm.weight", h + "self_attn.q_norm.weight", dim)
        add(p + "attn_k_norm.weight", h + "self_attn.k_norm.weight", dim)
    add(p + "ffn_norm.weight", h + "post_attention_layernorm.weight", c)
    add("output_norm.weight", "model.norm.weight", c)
    if not tied:
        add("output.weight", "lm_head.weight", len(tokens), c)
    write(w)
    golden[file] = out


types()
rounding()
model("llama.gguf", "llama", T.Q4_1, tied=True)
model("llama-biases.gguf", "llama", T.Q5_0, tied=False, bias=True, pre="llama-bpe")
model("qwen2.gguf", "qwen2", T.F16, tied=False, pre="qwen2", rope="yarn")
model("qwen3.gguf", "qwen3", T.BF16, tied=True, pre="qwen2", rope="linear")
with open("golden.json", "w") as f:
    json.dump(golden, f, indent=1)
    f.write("\n")
