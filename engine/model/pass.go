package model

import (
	"fmt"

	"retool/kernels"
)

// Inputs is a packed batch: T tokens, of which sequence s owns [Starts[s], Starts[s+1]). Positions count from each start. The heads
// are computed for the tokens that Rows names, in ascending order; the others, tool output among them, never reach one.
type Inputs struct{ IDs, Starts, Rows []int32 }

// Head is what the model says after rows [From, To) of Inputs.Rows; r = To−From, at most Options.HeadRows. A tensor is absent where
// the model has no such head. The memory is the model's: it is good until the function that was given the Head returns.
type Head struct {
	Logits   kernels.Tensor // (r,V)
	Gradient kernels.Tensor // (r,V): where Train's loss leaves ∂loss/∂logits: Logits, or of a BF16 model on a GPU its halves
	Values   kernels.Tensor // (r)
	From, To int
}

// Of is the part of t, with a number for each of Inputs.Rows, that belongs to the rows of h.
func (h Head) Of(t kernels.Tensor) kernels.Tensor { return t.Rows(h.From, h.To) }

// Train runs the model forward, then backward, and adds the gradients to G, or, where those were forgotten, writes them.
//
// loss is called for consecutive rows, inside the device's Do: it may call operations and the two doors, not Do. It leaves
// ∂loss/∂logits in Gradient, which is in place of Logits, and ∂loss/∂values in place of Values. Without rows there is
// nothing to learn, and nothing runs.
func (m *Model) Train(in Inputs, loss func(Head)) error { return m.TrainSeen(in, nil, loss) }

// Seen is for a loss that needs all of a pass before it has the gradient of any row. Read is called first, for all rows, as Score's is;
// then Done, in the same Do. The heads are computed once more for the loss.
type Seen struct {
	Read func(Head)
	Done func()
}

// TrainSeen is Train, where seen, unless it is nil, sees the heads of all rows before loss is given the first.
func (m *Model) TrainSeen(in Inputs, seen *Seen, loss func(Head)) error {
	if m.G == nil {
		return fmt.Errorf("model: Train: the model was made without Options.Train, or Suspend has given back what it needs")
	}
	if err := m.prepare(in); err != nil {
		return fmt.Errorf("model: Train: %w", err)
	}
	if m.div != nil {
		return inPass("Train", m.trainDivided(in, seen, loss))
	}
	if len(in.Rows) == 0 {
		return nil
	}
	return m.run("Train", func() {
		t := len(in.IDs)
		m.in.upload()
		x := m.body(t, true)
		m.beginGrad()
		dx := m.b.dx.Rows(0, t)
		m.lossBackward(dx, x, len(in.Rows), seen, loss)
		for l := m.Config.Layers - 1; l >= 0; l-- {
			m.backwardFrom(l, dx, t)
		}
		if !m.G.Embed.Absent() {
			m.dev.EmbedBackward(m.G.Embed, dx, m.ids)
		}
	})
}

// lossBackward shows the heads of n rows to seen and loss, and makes dx what loss leaves of them.
func (m *Model) lossBackward(dx, x kernels.Tensor, n int, seen *Seen, loss func(Head)) {
	m.dev.Zero(dx)
	if seen != nil {
		m.eachHead(x, n, false, seen.Read)
		seen.Done()
	}
	m.eachHead(x, n, true, func(h Head) {
		loss(h)
		m.headBackward(dx, h)
	})
}

// backwardFrom is backward of a layer in a pass of t tokens, whose activations are computed again if they were not kept.
func (m *Model) backwardFrom(l int, dx kernels.Tensor, t int) {
	x := m.b.x[l].Rows(0, t)
	if m.Options.Recompute && l < m.Config.Layers-1 { // the last layer's activations are still there
		m.forward(l, kernels.Tensor{}, x, kernels.Tensor{}, m.kept(l))
	}
	m.backward(l, dx, x, m.kept(l))
}

// Score runs the model forward. read is called as Train's loss is, and may overwrite what it is given.
func (m *Model) Score(in Inputs, read func(Head)) error {
	if err := m.prepare(in); err != nil {
		return fmt.Errorf("model: Score: %w", err)
	}
	if m.div != nil {
		return inPass("Score", m.scoreDivided(in, read))
	}
	if len(in.Rows) == 0 {
		return nil
	}
	return m.run("Score", func() {
		m.in.upload()
		m.eachHead(m.body(len(in.IDs), false), len(in.Rows), false, read)
	})
}

// run is Do with the attempt in its error.
func (m *Model) run(what string, f func()) error { return inPass(what, m.dev.Do(f)) }

func inPass(what string, err error) error {
	if err != nil {
		return fmt.Errorf("model: %s: %w", what, err)
	}
	return nil
}

// kept is where layer l's activations are kept for its backward.
func (m *Model) kept(l int) *activations {
	if m.Options.Recompute {
		return &m.b.cut[0]
	}
	return &m.b.cut[l]
}

// eachHead computes the heads of r rows, HeadRows at a time, and gives each to f.
func (m *Model) eachHead(x kernels.Tensor, r int, keep bool, f func(Head)) {
	for from := 0; from < r; from += m.Options.HeadRows {
		f(m.head(x, from, min(from+m.Options.HeadRows, r), keep))
	}
}

// prepare checks a packed batch and lays out its integers.
func (m *Model) prepare(in Inputs) error {
	t, s, r := len(in.IDs), len(in.Starts)-1, len(in.Rows)
	if t == 0 || t > m.Options.MaxTokens {
		return fmt.Errorf("a batch of %d tokens, must be 1 to %d (Options.MaxTokens)", t, m.Options.MaxTokens)
	}
	if s < 1 || in.Starts[0] != 0 || int(in.Starts[s]) != t {
		return fmt.Errorf("starts %s must go from 0 to the %d tokens of the batch", few(in.Starts), t)
	}
	for i := range s {
		from, to := in.Starts[i], in.Starts[i+1]
		if to <= from {
			return fmt.Errorf("sequence %d starts at %d and ends at %d", i, from, to)
		}
		if n := int(to - from); n > m.Options.Positions {
			return fmt.Errorf("sequence %d has %d tokens, the model has %d positions", i, n, m.Options.Positions)
		}
	}
	if err := m.checkIDs(in.IDs); err != nil {
		return err
	}
	for i, row := range in.Rows {
		if row < 0 || int(row) >= t {
			return fmt.Errorf("row %d is token %d of a batch of %d", i, row, t)
		}
		if i > 0 && row <= in.Rows[i-1] {
			return fmt.Errorf("row %d is token %d after token %d: rows must ascend", i, row, in.Rows[i-1])
		}
	}

	m.paged.on = false
	numbers, regions := m.startsRoom(t, s)
	m.in.begin(2*t+numbers+r, 3+regions)
	ids, idsAt := m.in.take(t)
	copy(ids, in.IDs)
	pos, posAt := m.in.take(t)
	for i := range s {
		p := pos[in.Starts[i]:in.Starts[i+1]]
		for j := range p {
			p[j] = int32(j)
		}
	}
	m.cutPacked(in.Starts)
	rows, rowsAt := m.in.take(r)
	copy(rows, in.Rows)
	m.ids, m.pos = m.in.view(idsAt, t), m.in.view(posAt, t)
	m.rows = kernels.Tensor{}
	if r > 0 {
		m.rows = m.in.view(rowsAt, r)
	}
	return nil
}

// checkIDs reports the first id that the embedding has no row for.
func (m *Model) checkIDs(ids []int32) error {
	for i, id := range ids {
		if uint(id) >= uint(m.Config.Vocab) {
			return fmt.Errorf("token %d has id %d, outside the vocabulary of %d", i, id, m.Config.Vocab)
		}
	}
	return nil
}

// few is a list for an error message.
func few(x []int32) string {
	if len(x) > 8 {
		return fmt.Sprintf("%v… (%d)", x[:8], len(x))
	}
	return fmt.Sprint(x)
}
