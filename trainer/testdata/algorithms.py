"""Golden numbers of every algorithm: loss and gradient of its published formula, by PyTorch's autograd in float64.

    python3 trainer/testdata/algorithms.py > trainer/testdata/algorithms.json

Written from the papers, with nothing of this repository's. clip-cov's draw is taken out by a share that all candidates fit into; its
covariances, and kl-cov's, are of the policy that sampled, which in a step's first update is the policy.
"""
import json

import torch

torch.set_default_dtype(torch.float64)
torch.manual_seed(7)


def rounded(x):  # the numbers that a float32 holds
    return x.float().double()


class Episode:
    def __init__(self, group):
        n = int(torch.randint(1, 10, ()))
        self.group, self.n = group, n
        self.reward = float(torch.randint(0, 2, ()) * 2 - 1)
        self.correct = self.reward > 0
        self.old = rounded(-3 * torch.rand(n))
        self.logp = rounded(self.old + 0.3 * torch.randn(n)).requires_grad_()
        self.ref = rounded(self.old + 0.2 * torch.randn(n))
        self.value = rounded(torch.rand(n) - 0.5)
        self.tool = [int(torch.randint(0, 4, ())) for _ in range(n)]  # tokens of tool output before each


eps = [Episode(g) for g in range(4) for _ in range(4)]
eps[0].reward, eps[0].correct, eps[1].reward, eps[1].correct = 1.0, True, -1.0, False
N = sum(e.n for e in eps)


def group(e):
    return [o for o in eps if o.group == e.group]


def mean(x):
    return sum(x) / len(x)


def std(x):  # n - 1
    return torch.tensor(x).std().item()


# Advantages, a list of a tensor for each episode.


def same(f):
    return [torch.full((e.n,), float(f(e))) for e in eps]


def grpo_advantage(deviation=True):
    def a(e):
        r = [o.reward for o in group(e)]
        return (e.reward - mean(r)) / (std(r) + 1e-6 if deviation else 1)

    return same(a)


def gae(e, gamma, lam):
    adv, last, out = 0.0, 0.0, [0.0] * e.n
    for t in reversed(range(e.n)):
        r = e.reward if t == e.n - 1 else 0.0
        delta = r + gamma * last - e.value[t].item()
        adv = delta + gamma * lam * adv
        out[t], last = adv, e.value[t].item()
    return torch.tensor(out)


def whiten(adv):
    flat = torch.cat(adv)
    return [(a - flat.mean()) / (flat.var(correction=0) + 1e-8).sqrt() for a in adv]


# Losses a token, then their mean.


def ratio(e):
    return (e.logp - e.old).exp()


def clipped(r, a, low, high, dual=0.0):
    gain = torch.minimum(r * a, r.clamp(1 - low, 1 + high) * a)
    if dual:
        gain = torch.where(a < 0, torch.maximum(gain, dual * a), gain)
    return -gain


def k1(e):
    return e.logp - e.ref


def k2(e):
    return (e.logp - e.ref) ** 2 / 2


def k3(e):
    return (e.ref - e.logp).exp() - 1 - (e.ref - e.logp)


def token_mean(losses):
    return torch.cat(losses).sum() / N


def sequence_mean(losses):
    return mean([x.mean() for x in losses])


def group_mean(losses):
    total = []
    for g in range(4):
        total.append(torch.cat([x for x, e in zip(losses, eps) if e.group == g]).mean())
    return mean(total)


def constant_mean(horizon):
    return lambda losses: mean([x.sum() / horizon for x in losses])


def each(f, adv):
    return [f(e, a) for e, a in zip(eps, adv)]


def ppo():
    adv = whiten([gae(e, 0.99, 0.9) for e in eps])
    return token_mean(each(lambda e, a: clipped(ratio(e), a, 0.2, 0.28, 3), adv))


def vapo():
    adv = whiten([gae(e, 1.0, max(0.0, 1 - 1 / (0.5 * e.n))) for e in eps])
    right = [e for e in eps if e.correct]
    nll = -torch.cat([e.logp for e in right]).sum() / sum(e.n for e in right)
    return token_mean(each(lambda e, a: clipped(ratio(e), a, 0.2, 0.28, 10), adv)) + 0.1 * nll


def grpo():
    return sequence_mean(each(lambda e, a: clipped(ratio(e), a, 0.2, 0.2) + 0.04 * k3(e), grpo_advantage()))


def grpo_plain():
    return group_mean(each(lambda e, a: clipped(ratio(e), a, 0.2, 0.2) + 0.1 * k1(e), grpo_advantage(False)))


def dr_grpo():
    return constant_mean(16)(each(lambda e, a: clipped(ratio(e), a, 0.2, 0.2), grpo_advantage(False)))


def dapo():
    return token_mean(each(lambda e, a: clipped(ratio(e), a, 0.2, 0.28), grpo_advantage()))


def gspo():
    losses = []
    for e, a in zip(eps, grpo_advantage()):
        s = (e.logp - e.old).mean().exp()  # the ratio of sequences, to the power 1/|y|; the gradient goes through all of it
        losses.append(clipped(s, a[0], 0.05, 0.06))
    return mean(losses)


def cispo():
    def f(e, a):
        return -ratio(e).clamp(max=1.1).detach() * a * e.logp

    return token_mean(each(f, grpo_advantage()))


def covariance(adv):
    old, flat = torch.cat([e.old for e in eps]), torch.cat(adv)
    return (old - old.mean()) * (flat - flat.mean())


def split(x):
    return list(torch.split(x, [e.n for e in eps]))


def clip_cov():
    adv = grpo_advantage()
    cov = split(covariance(adv))
    return token_mean([torch.where((c > 0.3) & (c < 0.9), 0.0, clipped(ratio(e), a, 0.2, 0.2)) for e, a, c in zip(eps, adv, cov)])


def kl_cov():
    adv = grpo_advantage()
    cov = covariance(adv)
    top = torch.zeros(N, dtype=torch.bool)
    top[cov.topk(max(1, int(0.1 * N))).indices] = True
    return token_mean([-ratio(e) * a + torch.where(t, 0.7 * (e.logp - e.old).abs(), 0.0) for e, a, t in zip(eps, adv, split(top))])


def rloo():
    def baseline(e):
        return mean([o.reward for o in group(e) if o is not e])

    return mean([-(e.reward - baseline(e)) * e.logp.sum() for e in eps])


def reinforce():
    b = mean([e.reward for e in eps])
    return mean([-(e.reward - b) * e.logp.sum() for e in eps])


def reinforce_pp():
    adv = []
    for e in eps:
        kl = e.old - e.ref
        adv.append(torch.tensor([e.reward - 0.05 * kl[t:].sum().item() for t in range(e.n)]))
    return token_mean(each(lambda e, a: clipped(ratio(e), a, 0.2, 0.2), whiten(adv)))


def reinforce_pp_baseline():
    return token_mean(each(lambda e, a: clipped(ratio(e), a, 0.2, 0.2) + 0.02 * k2(e), whiten(grpo_advantage(False))))


cases = [
    ("{algorithm: ppo, gamma: 0.99, lambda: 0.9, dual_clip: 3}", ppo),
    ("{algorithm: vapo, lambda_length: 0.5, critic_lambda: 1, imitate: 0.1}", vapo),
    ("{algorithm: grpo, clip_high: 0.2, dual_clip: 0, kl: 0.04}", grpo),
    ("{algorithm: grpo, clip_high: 0.2, dual_clip: 0, deviation: false, aggregate: group, kl: 0.1, kl_estimator: k1}", grpo_plain),
    ("{algorithm: dr-grpo, clip_high: 0.2, dual_clip: 0, horizon: 16}", dr_grpo),
    ("{algorithm: dapo, dual_clip: 0}", dapo),
    ("{algorithm: gspo, clip_low: 0.05, clip_high: 0.06}", gspo),
    ("{algorithm: cispo, clip_high: 0.1}", cispo),
    ("{algorithm: clip-cov, clip_high: 0.2, dual_clip: 0, covariance: {share: 0.9, low: 0.3, high: 0.9}}", clip_cov),
    ("{algorithm: kl-cov, covariance: {share: 0.1, kl: 0.7}}", kl_cov),
    ("{algorithm: rloo, horizon: 1}", rloo),
    ("{algorithm: reinforce, horizon: 1}", reinforce),
    ("{algorithm: reinforce++, clip_high: 0.2, dual_clip: 0, kl: 0.05, kl_in: reward, kl_estimator: k1}", reinforce_pp),
    ("{algorithm: reinforce++-baseline, clip_high: 0.2, dual_clip: 0, kl: 0.02, kl_estimator: k2}", reinforce_pp_baseline),
]


def digits(x):
    return [float(f"{v:.9g}") for v in x]


out = {"episodes": [], "cases": []}
for e in eps:
    out["episodes"].append({
        "group": e.group, "reward": e.reward, "correct": e.correct, "tool": e.tool, "old": digits(e.old), "logp": digits(e.logp.detach()),
        "ref": digits(e.ref), "value": digits(e.value)})
for settings, f in cases:
    for e in eps:
        e.logp.grad = None
    loss = f()
    loss.backward()
    out["cases"].append({
        "rl": settings, "loss": float(f"{loss.item():.12g}"), "gradient": [digits(e.logp.grad) for e in eps]})
print("{\"episodes\": [\n" + ",\n".join(json.dumps(e) for e in out["episodes"]) + "\n], \"cases\": [\n"
      + ",\n".join(json.dumps(c) for c in out["cases"]) + "\n]}")
