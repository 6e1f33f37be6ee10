package interp

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Diagnose probes every layer and starts a pool at every tier, with its self-test.
func Diagnose(ctx context.Context, cfg Config) (Report, error) {
	if err := cfg.Validate(); err != nil {
		return Report{}, err
	}
	cfg.Warm, cfg.Zygotes = 4, 1
	r := Report{Layers: probeLayers(cfg)}
	py, err := findPython(ctx, cfg.Python)
	if err != nil {
		r.Error = err.Error()
		return r, nil
	}
	r.Python, r.Path = py.version(), py.Executable
	for _, tier := range []Tier{TierA, TierB, TierC1, TierC2} {
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		began := time.Now()
		row := TierReport{Tier: tier}
		p, err := openTier(ctx, cfg, py, tier, r.Layers, slog.New(slog.DiscardHandler))
		row.Start = time.Since(began)
		if unfit := (unfitError{}); errors.As(err, &unfit) {
			r.Error = unfit.Error()
			return r, nil
		}
		if err != nil {
			row.Detail = err.Error()
		} else {
			row.OK, row.SelfTest, row.Modules = true, p.info.SelfTest, p.info.Modules
			p.Close()
			if r.Best == TierNone {
				r.Best = tier
			}
		}
		r.Tiers = append(r.Tiers, row)
	}
	return r, nil
}
