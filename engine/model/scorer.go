package model

import "retool/kernels"

// Scorer turns a pass's logits into the log-probability of each row's target and the entropy of the distribution it was drawn from: two
// numbers a row, where the logits are a vocabulary. A log-probability has the bits that Step recorded when it drew the token; with Keep,
// those of StepKept, and the distribution is that over each row's set.
type Scorer struct {
	Target  kernels.Tensor // (n) i32, of Load
	LogProb kernels.Tensor // (n): log π(target), of Score
	Entropy kernels.Tensor // (n): −Σ π·log π in nats, of Score

	dev kernels.Device
	lse kernels.Tensor // (n)
	n   int            // rows of the pass that was loaded

	starts, kept kernels.Tensor // (n+1), (their ids) i32: sets, of Keep; absent before the first
	keeps        bool           // the pass that was loaded has them
}

// Sets are sets of ids, one for each row of a pass: row r's are IDs[Starts[r]:Starts[r+1]], ascending. A row without any is scored over
// the whole vocabulary.
type Sets struct{ Starts, IDs []int32 }

// NewScorer makes a scorer for passes of at most rows rows. Close frees it.
func NewScorer(dev kernels.Device, rows int) *Scorer {
	return &Scorer{
		dev: dev, Target: dev.Alloc(kernels.I32, rows), LogProb: dev.Alloc(kernels.F32, rows), Entropy: dev.Alloc(kernels.F32, rows),
		lse: dev.Alloc(kernels.F32, rows),
	}
}

// Close frees the memory.
func (s *Scorer) Close() {
	for _, t := range []kernels.Tensor{s.Target, s.LogProb, s.Entropy, s.lse, s.starts, s.kept} {
		s.dev.Free(t)
	}
}

// Load puts the targets of a pass on the device, one for each of Inputs.Rows.
func (s *Scorer) Load(targets []int32) {
	s.keeps = false
	if s.n = len(targets); s.n > 0 {
		s.dev.Upload(s.Target.Rows(0, s.n), targets)
	}
}

// Keep restricts the pass that was loaded to the sets of its rows.
func (s *Scorer) Keep(sets Sets) {
	if s.keeps = s.n > 0 && len(sets.IDs) > 0; !s.keeps {
		return
	}
	if s.starts.Absent() {
		s.starts = s.dev.Alloc(kernels.I32, s.Target.Len()+1)
	}
	if n := len(sets.IDs); n > s.kept.Len() {
		s.dev.Free(s.kept)
		s.kept = s.dev.Alloc(kernels.I32, n+n/2)
	}
	s.dev.Upload(s.starts.Rows(0, s.n+1), sets.Starts)
	s.dev.Upload(s.kept.Rows(0, len(sets.IDs)), sets.IDs)
}

// Score computes LogProb and Entropy of the rows that h holds, where softmax(logits/temperature) is the distribution. It is for the
// function that Model.Train or Model.Score calls. With Keep the logits outside of the sets become −Inf.
func (s *Scorer) Score(h Head, temperature float32) { s.score(h, h.Of(s.Entropy), temperature) }

// ScoreTargets is Score without the entropy, for which all logits are read once more.
func (s *Scorer) ScoreTargets(h Head, temperature float32) { s.score(h, kernels.Tensor{}, temperature) }

func (s *Scorer) score(h Head, entropy kernels.Tensor, temperature float32) {
	if s.keeps {
		s.dev.Keep(h.Logits, s.starts.Rows(h.From, h.To+1), s.kept)
	}
	s.dev.LogSumExp(h.Of(s.lse), h.Logits, temperature)
	s.dev.LogProb(h.Of(s.LogProb), entropy, h.Logits, h.Of(s.lse), h.Of(s.Target), temperature)
}

// Backward puts ∂loss/∂logits into h.Gradient, for a head that was scored at the same temperature. dlogp and dentropy are the
// loss's gradients for the whole pass, (n) each; dentropy may be absent.
func (s *Scorer) Backward(h Head, dlogp, dentropy kernels.Tensor, temperature float32) {
	if !dentropy.Absent() {
		dentropy = h.Of(dentropy)
	}
	s.dev.LogProbBackward(h.Gradient, h.Logits, h.Of(s.lse), h.Of(s.Target), h.Of(dlogp), dentropy, temperature)
}

// LogProbs copies the pass's log-probabilities to the host.
func (s *Scorer) LogProbs() []float32 { return s.read(s.LogProb) }

// Entropies copies the pass's entropies to the host.
func (s *Scorer) Entropies() []float32 { return s.read(s.Entropy) }

func (s *Scorer) read(t kernels.Tensor) []float32 {
	out := make([]float32, s.n)
	if s.n > 0 {
		s.dev.Download(out, t.Rows(0, s.n))
	}
	return out
}
