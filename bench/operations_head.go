package bench

import "retool/kernels"

// headOps see the vocabulary, or a number a row of it.
var headOps = []operation{
	{"head", true, "C 40 R 5 V 300", // logits, their log-sum-exp, log-probability and entropy: the fused floor has the product alone
		headProduct,
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			x, w := b.random(d.R, d.C), b.random(d.V, d.C)
			s := setScores(b, d, b.empty(kernels.F32, d.R, d.V))
			return s.logp, func() {
				b.dev.Linear(s.logits, x, w, absent)
				s.logSumExp()
				s.logProb()
			}
		}},
	{"draw", true, "C 40 R 5 V 300", // the head of a decode step: ids and their log-probabilities
		headProduct,
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			x, w := b.random(d.R, d.C), b.random(d.V, d.C)
			s, keys := setScores(b, d, b.empty(kernels.F32, d.R, d.V)), b.ints(3*d.R, func(i int) int { return i }, d.R, 3)
			how := kernels.Sampling{Seed: 1, Temperature: 1, TopP: 1}
			return s.logp, func() { b.dev.Draw(s.ids, s.logp, s.logits, s.lse, x, w, keys, how) }
		}},
	{"logsumexp", false, "R 5 V 300", oneRead, func(b *workbench, d sizes) (kernels.Tensor, func()) {
		s := setScores(b, d, b.filled(kernels.F32, d.R, d.V))
		return s.lse, s.logSumExp
	}},
	{"logprob entropy", false, "R 5 V 300", oneRead, func(b *workbench, d sizes) (kernels.Tensor, func()) {
		s := setScores(b, d, b.filled(kernels.F32, d.R, d.V))
		b.once(s.logSumExp)
		return s.logp, s.logProb
	}},
	{"logprob", false, "R 5 V 300", oneRead, func(b *workbench, d sizes) (kernels.Tensor, func()) { // with its log-sum-exp
		s := setScores(b, d, b.filled(kernels.F32, d.R, d.V))
		return s.logp, s.both
	}},
	{"logprob backward", false, "R 5 V 300", // into the logits themselves, or of a BF16 model on a GPU into halves of them, as training does
		moves(func(d sizes) int { return f32 * 2 * d.R * d.V }),
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			s := setScores(b, d, b.filled(kernels.F32, d.R, d.V))
			b.once(s.both)
			into := s.logits
			if b.dtype == kernels.BF16 && b.dev.Info().Name != "cpu" {
				into = into.Halved()
			}
			return into, func() { b.dev.LogProbBackward(into, s.logits, s.lse, s.ids, s.logp, absent, 1) }
		}},
	{"sample", false, "R 5 V 300", oneRead, func(b *workbench, d sizes) (kernels.Tensor, func()) {
		s := setScores(b, d, b.filled(kernels.F32, d.R, d.V))
		b.once(s.logSumExp)
		keys := b.ints(3*d.R, func(i int) int { return i }, d.R, 3)
		how := kernels.Sampling{Seed: 1, Temperature: 1, TopP: 1}
		return s.ids, func() { b.dev.Sample(s.ids, s.logits, s.lse, keys, how) }
	}},
	{"restrict", false, "R 5 V 300", // of a copy, for it changes what it reads
		moves(func(d sizes) int { return f32 * 4 * d.R * d.V }),
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			s, all := setScores(b, d, b.empty(kernels.F32, d.R, d.V)), b.filled(kernels.F32, d.R, d.V)
			kept, how := b.empty(kernels.I32, d.R, kernels.KeptWords(d.V)), kernels.Sampling{Temperature: 1, TopP: 0.7}
			b.once(func() { b.dev.LogSumExp(s.lse, all, 1) })
			return kept, func() {
				b.dev.Copy(s.logits, all)
				b.dev.Restrict(s.logits, kept, s.lse, how)
			}
		}},
	{"logprob kept", false, "R 5 V 300", // likewise, with its log-sum-exp; sets of ten
		moves(func(d sizes) int { return f32 * 5 * d.R * d.V }),
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			s, all := setScores(b, d, b.empty(kernels.F32, d.R, d.V)), b.filled(kernels.F32, d.R, d.V)
			n := min(10, d.V)
			starts := b.ints(d.R+1, func(i int) int { return i * n })
			sets := b.ints(d.R*n, func(i int) int { return i % n * (d.V / n) })
			return s.lse, func() {
				b.dev.Copy(s.logits, all)
				b.dev.Keep(s.logits, starts, sets)
				s.both()
			}
		}},
	{"policy loss", false, "R 40",
		moves(func(d sizes) int { return f32 * 5 * d.R }),
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			number := func() kernels.Tensor { return b.filled(kernels.F32, d.R) }
			dlogp, stats, logp := b.empty(kernels.F32, d.R), b.empty(kernels.F32, kernels.Stats), number()
			t := kernels.Targets{Weight: number(), OldLogProb: number(), Advantage: number()}
			return dlogp, func() { b.dev.PolicyLoss(dlogp, stats, logp, t, kernels.Clip{Low: 0.2, High: 0.28, Dual: 3}) }
		}},
}

// headProduct is the work of a head's product, whose logits need not leave the chip.
func headProduct(d sizes) (flop, bytes int) { return 2 * d.R * d.V * d.C, d.x * (d.R*d.C + d.V*d.C) }

// oneRead is the work of what reads logits once.
func oneRead(d sizes) (flop, bytes int) { return 0, f32 * d.R * d.V }

// scores is logits, and what is computed of each row of them.
type scores struct {
	dev                             kernels.Device
	logits, lse, logp, entropy, ids kernels.Tensor
}

func setScores(b *workbench, d sizes, logits kernels.Tensor) scores {
	row := func() kernels.Tensor { return b.empty(kernels.F32, d.R) }
	return scores{b.dev, logits, row(), row(), row(), b.ints(d.R, func(i int) int { return i % d.V })}
}

func (s scores) logSumExp() { s.dev.LogSumExp(s.lse, s.logits, 1) }
func (s scores) logProb()   { s.dev.LogProb(s.logp, s.entropy, s.logits, s.lse, s.ids, 1) }

func (s scores) both() {
	s.logSumExp()
	s.logProb()
}

// updateOps run once an update of the weights.
var updateOps = []operation{
	{"adamw", false, "n 3000", // the weight; both moments read and written; gradient read; of a bf16 weight a float32 master too
		moves(func(d sizes) int {
			weight := 2 * f32
			if d.x != f32 {
				weight += d.x
			}
			return (weight + 4*f32 + f32) * d.P
		}),
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			w, g, m, v := b.random(d.P), b.filled(kernels.F32, d.P), b.empty(kernels.F32, d.P), b.empty(kernels.F32, d.P)
			out, master := w, absent
			if b.dtype == kernels.BF16 {
				master = b.empty(kernels.F32, d.P)
				out = master
				b.once(func() { b.dev.Copy(master, w) })
			}
			step := kernels.AdamWStep{LR: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Scale: 1, Step: 1}
			return out, func() { b.dev.AdamW(w, master, g, m, v, step) }
		}},
	{"sum of squares", false, "n 3000",
		moves(func(d sizes) int { return f32 * d.P }),
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			x, out := b.filled(kernels.F32, d.P), b.empty(kernels.F32, kernels.SumTiles(d.P))
			return out, func() { b.dev.SumSquares(out, x) }
		}},
	{"sum tree", false, "R 4 n 3000",
		moves(func(d sizes) int { return (d.R + 1) * f32 * d.P }),
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			x, y := b.filled(kernels.F32, d.R, d.P), b.empty(kernels.F32, d.P)
			return y, func() { b.dev.SumTree(y, x) }
		}},
}
