package bench

import (
	"context"
	"fmt"

	"retool/engine"
	"retool/engine/model"
	"retool/kernels"
)

// ids stands for a tokenizer of a model's whole vocabulary.
type ids int

func (n ids) Size() int        { return int(n) }
func (ids) Bytes(int32) []byte { return nil }

// plainEngine runs rollouts that call no tool and that nothing but their length ends.
func plainEngine(m *model.Model, length, pass, sequences int) (*engine.Engine, error) {
	cfg := engine.DefaultConfig()
	cfg.MaxTokens, cfg.StepTokens = length, pass
	return engine.New(m, cfg, ids(m.Config.Vocab), nil, nil, nil, sequences)
}

// Rollout measures the engine: prefill of 128 tokens, and decode of 128 tokens after prompts of 16, drawn at temperature 1; on a GPU 2048,
// and 128 after 960 which eight sequences share. What was drawn last is scored by the training forward too: Row.Difference. Rows that came
// before an error are returned with it.
func Rollout(ctx context.Context, dev kernels.Device, o Options) ([]Row, error) {
	o.defaults(dev)
	return o.eachModel(dev, func(name string, c model.Config, l load) ([]Row, error) {
		m, err := model.New(dev, c, model.Options{MaxTokens: l.pass, Positions: max(l.prefill+1, l.prompt+l.sampled), DType: l.dtype})
		if err != nil {
			return nil, err
		}
		defer m.Close()
		m.Init(1)
		return rolloutRows(ctx, m, name, l, o)
	})
}

func rolloutRows(ctx context.Context, m *model.Model, name string, l load, o Options) (rows []Row, err error) {
	c := m.Config
	prompt, sampled, prefill := l.prompt, l.sampled, l.prefill
	// A prompt and the one token that is sampled from it: all time but the head's is prefill.
	e, err := plainEngine(m, prefill+1, l.pass, 1)
	if err != nil {
		return nil, err
	}
	var drawn []*engine.Trajectory // in the last run
	run := func(e *engine.Engine, n, tokens int) func() error {
		groups := make([]engine.Group, (n+l.shared-1)/l.shared)
		for i := range n {
			g := &groups[i/l.shared]
			if g.Prompt == nil {
				g.Prompt, _ = prompts(c.Vocab, tokens).Prompt(fmt.Sprint(i))
			}
			g.Keys = append(g.Keys, int64(i))
		}
		return func() (err error) {
			drawn, err = e.Rollouts(ctx, groups, engine.Sampling{Seed: 1, Temperature: 1, TopP: 1})
			return err
		}
	}
	add := func(r Row) error {
		d, err := difference(m, drawn)
		if err != nil {
			return err
		}
		r.Difference = &d
		rows = append(rows, r)
		return o.report(r)
	}
	t, err := repeat(o.Budget, run(e, 1, prefill))
	e.Close()
	if err != nil {
		return nil, err
	}
	head := 2 * float64(c.Hidden*c.Vocab) // computed for the last token only
	n := float64(prefill)
	flop := n*(flops(c, n/2)-head) + head
	if err := add(o.Floor.rate("prefill", fmt.Sprintf("%s pp%d", name, prefill), n, flop, 0, t)); err != nil {
		return rows, err
	}
	for _, b := range l.batches {
		e, err := plainEngine(m, prompt+sampled, l.pass, b)
		if err != nil {
			return rows, err
		}
		f, before := run(e, b, prompt), e.Stats()
		var decode []float64 // of each call, the first too
		t, err := repeat(o.Budget, func() error {
			err := f()
			s := e.Stats()
			decode, before = append(decode, s.Sub(before).Decode.Seconds()), s
			return err
		})
		e.Close()
		if err != nil {
			return rows, err
		}
		// The first token of each comes with the prefill.
		tokens := float64(b * (sampled - 1))
		flop, bytes := 0.0, 0.0
		for t := range sampled - 1 {
			flop += float64(b) * flops(c, float64(prompt+t))
			if l.weightBytes(c) >= 64<<20 { // less stays in the caches
				bytes += l.weightBytes(c) + float64(b*(prompt+t)*2*c.Layers*c.KVHeads*c.HeadDim*l.dtype.Size())
			}
		}
		shape := fmt.Sprintf("%s B%d ctx%d", name, b, prompt+sampled/2)
		t.seconds = decode[1:]
		if err := add(o.Floor.rate("decode", shape, tokens, flop, bytes, t)); err != nil {
			return rows, err
		}
	}
	return rows, nil
}
