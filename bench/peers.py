"""peers.py CASES.json OUT.json [--ceiling]: times other implementations of the cases of `retool bench kernels --cases`, with PyTorch.

Same protocol as bench/gpu.go: 5 runs to warm up, 24 timed by CUDA events, each from a cold second-level cache; the median counts. A peer that
fails is left out, with its reason. OUT is stored after every case; what it has is not measured again. It holds the rate of torch.mm at
8192³ as well, the ceiling for products; with --ceiling that alone.
"""
import json
import os
import statistics
import sys

NOT_HERE = 77  # exit code: nothing failed, this machine has no peers

try:
    import torch
    import torch.nn.functional as F
except ImportError as e:
    print(f"peers: no PyTorch: {e}")
    sys.exit(NOT_HERE)
if not torch.cuda.is_available():
    print("peers: PyTorch sees no GPU")
    sys.exit(NOT_HERE)

from torch.nn.attention import SDPBackend, sdpa_kernel

DEV, BF16 = "cuda", torch.bfloat16
WARM, TIMES = 5, 24
torch.manual_seed(1)
flush = torch.empty(512 << 20, dtype=torch.int8, device=DEV)


def microseconds(run):
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(WARM + TIMES)]
    for begin, end in events:
        flush.zero_()
        begin.record()
        run()
        end.record()
    torch.cuda.synchronize()
    return 1000 * statistics.median(b.elapsed_time(e) for b, e in events[WARM:])


def normal(*shape, dtype=BF16):
    return torch.randn(*shape, device=DEV, dtype=torch.float32).to(dtype)


def chain(f):
    """f, fused by torch.compile."""
    return torch.compile(f, dynamic=False)


def backends(run):
    for name, backend in (("SDPA cuDNN", SDPBackend.CUDNN_ATTENTION), ("SDPA Flash", SDPBackend.FLASH_ATTENTION)):
        def call(backend=backend):
            with sdpa_kernel([backend]):
                return run()
        yield name, call


def linear(d):
    x, w = normal(d["T"], d["M"]), normal(d["N"], d["M"])
    yield "torch.mm", lambda: torch.mm(x, w.T)


def linear_dx(d):
    dy, w = normal(d["T"], d["N"]), normal(d["N"], d["M"])
    yield "torch.mm", lambda: torch.mm(dy, w)


def linear_dw(d):
    dy, x = normal(d["T"], d["N"]), normal(d["T"], d["M"])
    yield "torch.mm", lambda: torch.mm(dy.T, x)


def qkv(d, queries, keys, batch, grad=False):
    q, k, v = normal(batch, d["H"], queries, d["D"]), normal(batch, d["K"], keys, d["D"]), normal(batch, d["K"], keys, d["D"])
    return [t.requires_grad_(grad) for t in (q, k, v)]


def attention(d):
    q, k, v = qkv(d, d["L"], d["L"], d["S"])
    gqa = d["H"] != d["K"]
    yield from backends(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=gqa))


def attention_backward(d):
    # Grouped keys are repeated outside the timing: the backward of enable_gqa is not in every backend.
    q, k, v = qkv({**d, "K": d["H"]}, d["L"], d["L"], d["S"], grad=True)
    do = torch.randn_like(q)
    for name, call in backends(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True)):
        try:
            o = call()
        except RuntimeError as e:
            print(f"peers: attention backward, {name}: {str(e).splitlines()[0]}", file=sys.stderr)
            continue
        yield name, lambda o=o: torch.autograd.grad(o, (q, k, v), do, retain_graph=True)


def paged_attention(d):
    # On keys and values already gathered from their pages, which is kind to the peer.
    q, k, v = qkv(d, d["new"], d["L"], d["B"])
    gqa = d["H"] != d["K"]
    if d["new"] == 1:
        for name, call in backends(lambda: F.scaled_dot_product_attention(q, k, v, enable_gqa=gqa)):
            yield name + " on gathered keys", call
        return
    from torch.nn.attention.bias import causal_lower_right
    g = d["H"] // d["K"]
    k, v = k.repeat_interleave(g, 1), v.repeat_interleave(g, 1)
    mask = causal_lower_right(d["new"], d["L"])
    yield "SDPA on gathered keys", lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def turns(d):
    half = d["D"] // 2
    cos, sin = normal(d["T"], 1, half, dtype=torch.float32), normal(d["T"], 1, half, dtype=torch.float32)

    def turn(x):
        a, b = x[..., :half].float(), x[..., half:].float()
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(BF16)
    return turn


def rope(d):
    turned, heads = d["H"] + d["K"], d["H"] + 2 * d["K"]
    x, bias, turn = normal(d["T"], heads, d["D"]), normal(heads, d["D"]), turns(d)

    def run(x):
        x = x + bias
        return turn(x[:, :turned]), x[:, turned:].clone()
    f = chain(run)
    yield "torch.compile", lambda: f(x)


def rope_norm(d):
    turned, turn, shape = d["H"] + d["K"], turns(d), (d["D"],)
    x, wq, wk = normal(d["T"], turned, d["D"]), normal(d["D"]), normal(d["D"])
    f = chain(lambda x: (turn(F.rms_norm(x[:, :d["H"]], shape, wq, 1e-6)), turn(F.rms_norm(x[:, d["H"]:], shape, wk, 1e-6))))
    yield "torch.compile", lambda: f(x)


def append_kv(d):
    width = d["K"] * d["D"]
    k, v = normal(d["T"], width), normal(d["T"], width)
    ck, cv, at = torch.empty_like(k), torch.empty_like(v), torch.arange(d["T"], device=DEV)

    def put(k, v):
        ck.index_copy_(0, at, k)
        cv.index_copy_(0, at, v)
    yield "index_copy_", lambda: put(k, v)


def rmsnorm(d):
    x, w = normal(d["T"], d["C"]), normal(d["C"])
    f = chain(lambda x: F.rms_norm(x, (d["C"],), w, 1e-6))
    yield "torch.compile", lambda: f(x)
    yield "F.rms_norm", lambda: F.rms_norm(x, (d["C"],), w, 1e-6)


def rmsnorm_add(d):
    x, by, w = normal(d["T"], d["C"]), normal(d["T"], d["C"]), normal(d["C"])

    def run(x, by):
        x = x + by
        return x, F.rms_norm(x, (d["C"],), w, 1e-6)
    f = chain(run)
    yield "torch.compile", lambda: f(x, by)


def rmsnorm_backward(d):
    x, w = normal(d["T"], d["C"]).requires_grad_(), normal(d["C"]).requires_grad_()
    y = F.rms_norm(x, (d["C"],), w, 1e-6)
    dy = torch.randn_like(y)
    yield "F.rms_norm", lambda: torch.autograd.grad(y, (x, w), dy, retain_graph=True)


def add(d):
    y, x = normal(d["T"], d["C"]), normal(d["T"], d["C"])
    yield "add_", lambda: y.add_(x)


def embed(d):
    table, ids = normal(8 * d["T"], d["C"]), torch.arange(d["T"], device=DEV) * 7 % (8 * d["T"])
    yield "F.embedding", lambda: F.embedding(ids, table)


def swiglu(d):
    g, u = normal(d["T"], d["F"]), normal(d["T"], d["F"])
    f = chain(lambda g, u: F.silu(g) * u)
    yield "torch.compile", lambda: f(g, u)


def swiglu_backward(d):
    g, u, dy = (normal(d["T"], d["F"]) for _ in range(3))

    def back(g, u, dy):
        s = torch.sigmoid(g.float())
        return (dy * u * s * (1 + g * (1 - s))).to(BF16), (dy * g * s).to(BF16)
    f = chain(back)
    yield "torch.compile", lambda: f(g, u, dy)


def logp_of(logits, ids):
    lse = torch.logsumexp(logits, -1)
    p = torch.exp(logits - lse[:, None])
    return logits.gather(1, ids[:, None])[:, 0] - lse, lse - (p * logits).sum(-1)


def head(d):
    x, w, ids = normal(d["R"], d["C"]), normal(d["V"], d["C"]) * 0.02, torch.arange(d["R"], device=DEV) % d["V"]
    f = chain(lambda x: logp_of(F.linear(x, w).float(), ids))
    yield "torch.compile", lambda: f(x)
    yield "eager", lambda: logp_of(F.linear(x, w).float(), ids)


def logprob(d):
    x, ids = normal(d["R"], d["V"], dtype=torch.float32), torch.arange(d["R"], device=DEV) % d["V"]
    f = chain(logp_of)
    yield "torch.compile", lambda: f(x, ids)


def logprob_backward(d):
    x, ids, g = normal(d["R"], d["V"], dtype=torch.float32), torch.arange(d["R"], device=DEV) % d["V"], normal(d["R"], dtype=torch.float32)
    lse = torch.logsumexp(x, -1)

    def back(x):
        hit = torch.arange(x.shape[1], device=DEV)[None] == ids[:, None]
        return g[:, None] * (hit.float() - torch.exp(x - lse[:, None]))
    f = chain(back)
    yield "torch.compile", lambda: f(x)


def policy_loss(d):
    logp, old, a, w = (normal(d["R"], dtype=torch.float32) for _ in range(4))

    def loss(logp):
        r = torch.exp(logp - old)
        plain, clipped = r * a, torch.clamp(r, 0.8, 1.28) * a
        dual = torch.where(a < 0, torch.maximum(torch.minimum(plain, clipped), 3 * a), torch.minimum(plain, clipped))
        inside = (plain <= clipped) & ((a >= 0) | (plain > 3 * a))
        return -(w * dual).sum(), -(w * torch.where(inside, plain, torch.zeros_like(a)))
    f = chain(loss)
    yield "torch.compile", lambda: f(logp)


def adamw(d):
    p = torch.nn.Parameter(normal(d["n"], dtype=torch.float32))
    p.grad = normal(d["n"], dtype=torch.float32)
    out, opt = torch.empty(d["n"], dtype=BF16, device=DEV), torch.optim.AdamW([p], lr=1e-5, fused=True)

    def step():
        opt.step()
        out.copy_(p.detach())
    yield "AdamW(fused) and cast", step


def sum_of_squares(d):
    x = normal(d["n"], dtype=torch.float32)
    yield "vector_norm", lambda: torch.linalg.vector_norm(x)


def sum_tree(d):
    x = normal(d["R"], d["n"], dtype=torch.float32)
    yield "sum", lambda: torch.sum(x, 0)


def sample(d):
    x = normal(d["R"], d["V"], dtype=torch.float32)
    yield "softmax and multinomial", lambda: torch.multinomial(torch.softmax(x, -1), 1)


def reason(e):
    return str(e).splitlines()[0] if str(e) else type(e).__name__


def fatal(e):
    """After some errors everything fails in this process; the next one goes on."""
    return "CUDA error" in str(e) or "CUBLAS_STATUS" in str(e) or isinstance(e, getattr(torch, "AcceleratorError", ()))


class Report:
    """OUT: rows, what was left out and why, and the case at work, stored after every case. Read back, it is gone on from."""

    def __init__(self, path):
        self.path, self.data = path, {"torch": torch.__version__, "gpu": torch.cuda.get_device_name(), "rows": [], "left_out": []}
        if os.path.exists(path):
            with open(path) as f:
                self.data = json.load(f)
        begun = self.data.pop("begun", None)
        if begun:
            self.leave_out(begun, "did not finish: the process was stopped in it")

    def leave_out(self, case, why):
        self.data["left_out"].append({"op": case["op"], "shape": case["shape"], "why": why})
        print(f"peers: left out: {case['op']} {case['shape']}: {why}", file=sys.stderr, flush=True)

    def has(self, case):
        return any((r["op"], r["shape"]) == (case["op"], case["shape"]) for r in self.data["rows"] + self.data["left_out"])

    def store(self):
        with open(self.path + ".new", "w") as f:
            json.dump(self.data, f, indent=1)
        os.replace(self.path + ".new", self.path)


def measure(case, report):
    """Every peer of a case. One that fails is left out."""
    try:
        for peer, run in globals()[case["op"].replace(" ", "_")](case["dims"]):
            try:
                run()  # compiles, and fails where the backend does not take the shape
                us = microseconds(run)
            except Exception as e:
                report.leave_out(case, f"{peer}: {reason(e)}")
                if fatal(e):
                    raise
                continue
            report.data["rows"].append({"op": case["op"], "shape": case["shape"], "peer": peer, "us": us})
            print(f"peers: {case['op']} {case['shape']}, {peer}: {us:.1f} µs", flush=True)
    except Exception as e:
        if fatal(e):
            raise
        report.leave_out(case, reason(e))


def main():
    cases_path, out_path, *flags = sys.argv[1:]
    with open(cases_path) as f:
        cases = json.load(f)
    report = Report(out_path)
    if "matrix_tflop_s" not in report.data:
        a, b = normal(8192, 8192), normal(8192, 8192)
        report.data["matrix_tflop_s"] = 2 * 8192**3 / microseconds(lambda: torch.mm(a, b)) / 1e6
        del a, b
    report.store()
    if "--ceiling" in flags:
        return
    for case in cases:
        if report.has(case):
            continue
        report.data["begun"] = {"op": case["op"], "shape": case["shape"]}
        report.store()
        try:
            measure(case, report)
        except Exception as e:
            report.data.pop("begun")
            if not report.has(case):
                report.leave_out(case, reason(e))
            report.store()
            sys.exit(f"peers: {case['op']} {case['shape']}: {reason(e)}")
        report.data.pop("begun")
        report.store()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
