package engine

import (
	"context"
	"fmt"
)

// Rollouts samples every trajectory of every group to its end and returns them in the order of groups and keys. It runs one
// call at a time. The error is that of the device or of ctx, a prompt that cannot fit, or too many trajectories lost to the
// sandbox; single lost trajectories are returned with Finish Lost.
func (e *Engine) Rollouts(ctx context.Context, groups []Group, s Sampling) ([]*Trajectory, error) {
	stream := e.Stream(s)
	defer stream.Close()
	if err := stream.Add(groups...); err != nil {
		return nil, err
	}
	trs := make([]*Trajectory, 0, len(stream.live))
	for _, q := range stream.live {
		trs = append(trs, q.tr)
	}
	for stream.Live() > 0 {
		if e.Progress != nil {
			e.Progress(len(trs)-stream.Live(), len(trs))
		}
		if _, err := stream.Step(ctx); err != nil {
			return nil, err
		}
	}
	if e.Progress != nil {
		e.Progress(len(trs), len(trs))
	}
	var lost []*Trajectory
	for _, t := range trs {
		if t.Finish == Lost {
			lost = append(lost, t)
		}
	}
	if float64(len(lost)) > e.cfg.MaxLost*float64(len(trs)) {
		return nil, fmt.Errorf(
			"engine: %d of %d trajectories were lost to the interpreter, engine.max_lost allows a share of %g: %w", len(lost), len(trs),
			e.cfg.MaxLost, lost[0].Err,
		)
	}
	return trs, nil
}
