package bench

import (
	"context"
	"fmt"
	"time"

	"retool/engine"
	"retool/engine/model"
	"retool/kernels"
)

// ids stands for a tokenizer of a model's whole vocabulary.
type ids int

func (n ids) Size() int        { return int(n) }
func (ids) Bytes(int32) []byte { return nil }

// plainEngine runs rollouts that call no tool and that nothing but their length ends.
func plainEngine(m *model.Model, length, sequences int) (*engine.Engine, error) {
	cfg := engine.DefaultConfig()
	cfg.MaxTokens, cfg.StepTokens = length, 1024
	return engine.New(m, cfg, ids(m.Config.Vocab), nil, nil, nil, sequences)
}

// Rollout measures the engine: prefill of 128 tokens, and decode of 128 tokens after prompts of 16, drawn at temperature 1.
func Rollout(ctx context.Context, dev kernels.Device, o Options) ([]Row, error) {
	o.defaults(dev)
	var rows []Row
	for _, name := range o.Models {
		c, err := model.Shape(name)
		if err != nil {
			return nil, err
		}
		m, err := model.New(dev, c, model.Options{MaxTokens: 1024, Positions: 1024})
		if err != nil {
			return nil, err
		}
		m.Init(1)
		more, err := rolloutRows(ctx, m, name, o)
		m.Close()
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

func rolloutRows(ctx context.Context, m *model.Model, name string, o Options) ([]Row, error) {
	c := m.Config
	const prompt = 16
	sampled := 128
	if flops(c, 0) > 2e8 {
		sampled = 12
	}
	// A prompt and the one token that is sampled from it: all time but the head's is prefill.
	const prefill = 128
	e, err := plainEngine(m, prefill+1, 1)
	if err != nil {
		return nil, err
	}
	run := func(e *engine.Engine, n, tokens int) func() error {
		groups := make([]engine.Group, n)
		for i := range groups {
			p, _ := prompts(c.Vocab, tokens).Prompt(fmt.Sprint(i))
			groups[i] = engine.Group{Prompt: p, Keys: []int64{int64(i)}}
		}
		return func() error {
			_, err := e.Rollouts(ctx, groups, engine.Sampling{Seed: 1, Temperature: 1, TopP: 1})
			return err
		}
	}
	seconds := fastest(o.Budget, run(e, 1, prefill), &err)
	e.Close()
	if err != nil {
		return nil, err
	}
	head := 2 * float64(c.Hidden*c.Vocab) // computed for the last token only
	flop := prefill*(flops(c, prefill/2)-head) + head
	rows := []Row{o.Floor.row("prefill", fmt.Sprintf("%s pp%d", name, prefill), prefill/seconds, "tok/s", flop, 0, seconds)}
	for _, b := range o.Batches {
		e, err := plainEngine(m, prompt+sampled, b)
		if err != nil {
			return nil, err
		}
		before, best := e.Stats(), time.Duration(1<<62-1)
		f := run(e, b, prompt)
		fastest(o.Budget, func() error {
			err := f()
			s := e.Stats()
			best, before = min(best, s.Sub(before).Decode), s
			return err
		}, &err)
		e.Close()
		if err != nil {
			return nil, err
		}
		// The first token of each comes with the prefill.
		tokens := float64(b * (sampled - 1))
		flop, bytes := 0.0, 0.0
		for t := range sampled - 1 {
			flop += float64(b) * flops(c, float64(prompt+t))
			bytes += 2 * flops(c, 0) // four a weight
		}
		if bytes/float64(sampled-1) < 64<<20 {
			bytes = 0 // such weights stay in the caches
		}
		rows = append(rows, o.Floor.row("decode", fmt.Sprintf("%s B%d", name, b), tokens/best.Seconds(), "tok/s", flop, bytes, best.Seconds()))
	}
	return rows, nil
}
