"""train.py MODEL [--compile] [--seconds S] [--threads N] [--length T]: training of the shapes of `retool bench train` by PyTorch on a CPU.

A step is forward, cross entropy, backward, clipping and AdamW (fused) on 4,096 tokens in sequences of T, float32, Llama's layers. Prints tokens a
second: best, median, number of steps, and the distance between the quartiles of their times as a share of the median.
"""
import argparse
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

SHAPES = {"d128": (128, 4, 4, 384, 512), "d256": (256, 6, 8, 768, 512)}  # hidden, layers, heads, feed-forward, vocabulary


def turn(a, cos, sin):
    lo, hi = a.chunk(2, -1)
    return torch.cat((lo * cos - hi * sin, hi * cos + lo * sin), -1)


class Layer(nn.Module):
    def __init__(self, c, h, f):
        super().__init__()
        self.h = h
        self.norm, self.norm2 = nn.RMSNorm(c, eps=1e-6), nn.RMSNorm(c, eps=1e-6)
        self.qkv, self.o = nn.Linear(c, 3 * c, bias=False), nn.Linear(c, c, bias=False)
        self.gate_up, self.down = nn.Linear(c, 2 * f, bias=False), nn.Linear(f, c, bias=False)

    def heads(self, x, cos, sin):
        b, t, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).view(b, t, 3, self.h, -1).permute(2, 0, 3, 1, 4)
        return turn(q, cos, sin), turn(k, cos, sin), v

    def rest(self, x, y):
        x = x + self.o(y.transpose(1, 2).reshape(x.shape))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)

    def forward(self, x, cos, sin):
        q, k, v = self.heads(x, cos, sin)
        return self.rest(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))


class Model(nn.Module):
    def __init__(self, c, layers, h, f, v, t):
        super().__init__()
        self.embed, self.norm, self.head = nn.Embedding(v, c), nn.RMSNorm(c, eps=1e-6), nn.Linear(c, v, bias=False)
        self.layers = nn.ModuleList(Layer(c, h, f) for _ in range(layers))
        d = c // h
        angle = torch.outer(torch.arange(t).float(), 10000.0 ** (-torch.arange(0, d, 2).float() / d))
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, ids):
        x, t = self.embed(ids), ids.shape[1]
        for layer in self.layers:
            x = layer(x, self.cos[:t], self.sin[:t])
        return self.head(self.norm(x))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model", choices=SHAPES)
    p.add_argument("--compile", action="store_true")
    p.add_argument("--seconds", type=float, default=4)
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--length", type=int, default=128)
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    shape, tokens = SHAPES[a.model], 4096
    m = Model(*shape, a.length)
    opt = torch.optim.AdamW(m.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(shape[-1], (tokens // a.length, a.length + 1))
    x, y = ids[:, :-1].contiguous(), ids[:, 1:].reshape(-1)

    def loss():
        return F.cross_entropy(m(x).view(-1, shape[-1]), y)
    f = torch.compile(loss) if a.compile else loss

    def step():
        opt.zero_grad(set_to_none=True)
        f().backward()
        torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        opt.step()
    for _ in range(3):
        step()
    times, begin = [], time.perf_counter()
    while time.perf_counter() - begin < a.seconds or len(times) < 3:
        s = time.perf_counter()
        step()
        times.append(time.perf_counter() - s)
    times.sort()
    n, mid = len(times), statistics.median(times)
    print(f"torch {torch.__version__} {'compile' if a.compile else 'eager'} {a.model} T{a.length} {torch.get_num_threads()} threads: "
          f"{tokens / times[0]:.0f} tok/s, median {tokens / mid:.0f} of {n}, spread {100 * (times[3 * n // 4] - times[n // 4]) / mid:.1f} %")


if __name__ == "__main__":  # rl-step/step.py has the model from here
    main()
