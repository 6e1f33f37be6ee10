"""step.py MODEL [--eager] [--seconds S] [--threads N]: a step of GRPO of the shapes of `retool bench train`, written by hand in PyTorch.

8 prompts of 16 tokens, 8 rollouts of each of 128 tokens, then one update on all of them (clipped ratios, clipping, AdamW, fused), float32,
Llama's layers. Prompts are prefilled once a group; a decode step is compiled for four lengths of the cache, which is allocated once; the
rollouts' own log-probabilities are what the ratios are taken to, so there is no pass for them. Prints seconds a step, and of them the rollout's.
"""
import argparse
import pathlib
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "pytorch-train"))
import train  # noqa: E402

PROMPTS, GROUP, PROMPT, SAMPLED = 8, 8, 16, 128
LENGTH, ROLLOUTS = PROMPT + SAMPLED, PROMPTS * GROUP


class Model(train.Model):
    def __init__(self, *shape):
        super().__init__(*shape, LENGTH)
        nn.init.normal_(self.embed.weight, std=0.02)

    def prefill(self, ids, keys, vals):
        """ids (PROMPTS, n) to the caches of all their rollouts."""
        n = ids.shape[1]
        x = self.embed(ids)
        for i, layer in enumerate(self.layers):
            q, k, v = layer.heads(x, self.cos[:n], self.sin[:n])
            keys[i][:, :, :n], vals[i][:, :, :n] = k.repeat_interleave(GROUP, 0), v.repeat_interleave(GROUP, 0)
            x = layer.rest(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))

    def decode(self, ids, at, room, keys, vals, u):
        """One token (ROLLOUTS, 1) at position at (1,) below room; keys and vals are a cache a layer. Draws the next by noise u in (0, 1)."""
        x = self.embed(ids)
        cos, sin = self.cos[at], self.sin[at]
        seen = (torch.arange(room) <= at)[None, None, None]
        for i, layer in enumerate(self.layers):
            q, k, v = layer.heads(x, cos, sin)
            keys[i].index_copy_(2, at, k)
            vals[i].index_copy_(2, at, v)
            x = layer.rest(x, F.scaled_dot_product_attention(q, keys[i][:, :, :room], vals[i][:, :, :room], attn_mask=seen))
        logits = self.head(self.norm(x))[:, 0]
        drawn = (logits - (-u.log()).log()).argmax(-1, keepdim=True)
        return drawn, logits.log_softmax(-1).gather(1, drawn)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model", choices=train.SHAPES)
    p.add_argument("--eager", action="store_true")
    p.add_argument("--seconds", type=float, default=8)
    p.add_argument("--threads", type=int, default=0)
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    shape = train.SHAPES[a.model]
    c, layers, h, _, vocab = shape
    m = Model(*shape)
    opt = torch.optim.AdamW(m.parameters(), lr=1e-6, fused=True)

    def compiled(f):
        return f if a.eager else torch.compile(f, dynamic=False)
    decode = compiled(m.decode)
    keys, vals = ([torch.zeros(ROLLOUTS, h, LENGTH, c // h) for _ in range(layers)] for _ in range(2))
    prompts = torch.randint(vocab, (PROMPTS, PROMPT))

    def loss(ids, old, advantage):
        logp = m(ids[:, :-1])[:, PROMPT - 1:].log_softmax(-1).gather(2, ids[:, PROMPT:, None])[..., 0]
        ratio = (logp - old).exp()
        return -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
    loss = compiled(loss)

    def rollout():
        ids, logp = torch.empty(ROLLOUTS, LENGTH, dtype=torch.long), torch.empty(ROLLOUTS, SAMPLED)
        ids[:, :PROMPT] = prompts.repeat_interleave(GROUP, 0)
        with torch.no_grad():
            m.prefill(prompts[:, :-1], keys, vals)
            for at in range(PROMPT - 1, LENGTH - 1):
                room = min((at // 36 + 1) * 36, LENGTH)
                u = torch.rand(ROLLOUTS, vocab).clamp_(1e-7, 1 - 1e-7)
                drawn, lp = decode(ids[:, at:at + 1], torch.tensor([at]), room, keys, vals, u)
                ids[:, at + 1:at + 2], logp[:, at + 1 - PROMPT:at + 2 - PROMPT] = drawn, lp
        return ids, logp

    def step():
        begin = time.perf_counter()
        ids, old = rollout()
        mid = time.perf_counter()
        reward = torch.rand(PROMPTS, GROUP)
        advantage = ((reward - reward.mean(1, keepdim=True)) / reward.std(1, keepdim=True)).view(-1, 1)
        opt.zero_grad(set_to_none=True)
        loss(ids, old, advantage).backward()
        torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        opt.step()
        return time.perf_counter() - begin, mid - begin
    with torch.no_grad():  # what was drawn over the caches is what the whole forward gives
        ids, old = rollout()
        logp = m(ids[:, :-1])[:, PROMPT - 1:].log_softmax(-1).gather(2, ids[:, PROMPT:, None])[..., 0]
        assert (logp - old).abs().max() < 1e-3, (logp - old).abs().max()
    for _ in range(2):
        step()
    times, begin = [], time.perf_counter()
    while time.perf_counter() - begin < a.seconds or len(times) < 3:
        times.append(step())
    times.sort()
    n = len(times)
    print(f"torch {torch.__version__} {'eager' if a.eager else 'compile'} {a.model} {torch.get_num_threads()} threads: "
          f"{times[0][0]:.3f} s, median {statistics.median(t for t, _ in times):.3f} of {n}, rollout {statistics.median(r for _, r in times):.3f}",
          flush=True)


main()
