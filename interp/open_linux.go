package interp

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
)

// open decides the tier, from the best the host seems to offer down, and returns a pool whose self-test passed.
func open(ctx context.Context, cfg Config, py *python, log *slog.Logger) (*Pool, error) {
	top := TierA
	if cfg.forceTier != "" {
		top = tierNamed(cfg.forceTier)
	}
	if cfg.Isolation == IsolationUnsafe {
		p := newPool(cfg, log, &fences{cfg: cfg, py: py}, nil)
		p.info = Info{Unsafe: true, Cgroup: "none", Python: py.version(), Path: py.Executable, Modules: map[string]string{}}
		log.Warn("interp: isolation is unsafe-subprocess: model code can read, write and send whatever you can")
		return p, nil
	}
	var tried []string
	for _, tier := range []Tier{TierA, TierB, TierC1, TierC2} {
		if tier > top || tier == TierC1 && os.Geteuid() != 0 {
			continue
		}
		if tier < tierNamed(cfg.MinTier) {
			break
		}
		p, err := openTier(ctx, cfg, py, tier, log)
		if err == nil {
			return p, nil
		}
		tried = append(tried, fmt.Sprintf("tier %v: %v", tier, err))
		log.Warn("interp: tier not available", "tier", tier.String(), "why", err)
	}
	return nil, fmt.Errorf("%w: min_tier is %s; %s", ErrTier, cfg.MinTier, strings.Join(tried, "; "))
}

func openTier(ctx context.Context, cfg Config, py *python, tier Tier, log *slog.Logger) (*Pool, error) {
	omit := map[string]bool{}
	for _, o := range cfg.omit {
		omit[o] = true
	}
	f := &fences{cfg: cfg, tier: tier, py: py, omit: omit, preload: cfg.Preload}
	if os.Geteuid() == 0 && tier != TierC2 {
		f.uidBase, f.uids = userRange()
	}
	var err error
	if f.show, err = showList(py.show); err != nil {
		return nil, err
	}
	f.filter = sessionPolicy(!f.jail(), cfg.AllowFork && tier == TierA, cfg.AllowExec && tier == TierA).program()
	var cg *cgroups
	if tier == TierA {
		if omit["cgroup"] {
			return nil, fmt.Errorf("cgroups are left out")
		}
		if cg, err = newCgroups(int64(cfg.Limits.Memory), cfg.Limits.Processes); err != nil {
			return nil, fmt.Errorf("cgroup: %w", err)
		}
	}
	p := newPool(cfg, log, f, cg)
	if err := p.begin(); err != nil {
		if cg != nil {
			cg.close()
		}
		return nil, err
	}
	boot := p.zygotes[0].boot
	p.info = Info{Tier: tier, Landlock: boot.Landlock, Seccomp: len(f.filter), Cgroup: cg.version(), Python: boot.Python, Path: py.Executable,
		Modules: boot.Modules, Missing: sortedKeys(boot.Missing), Sessions: cfg.warm()}
	return p, nil
}

// Stats is a snapshot of the pool's counters.
func (p *Pool) Stats() Stats {
	s := p.stats.snapshot()
	s.Warm, s.Running = len(p.warm), len(p.run)
	p.mu.Lock()
	s.Sessions = p.sessions
	for _, z := range p.zygotes {
		s.ZygoteRSS += z.rss()
	}
	p.mu.Unlock()
	return s
}
