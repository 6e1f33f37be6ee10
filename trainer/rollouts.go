package trainer

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"retool/engine"
)

// share is what one rank did of the rollouts of a step.
type share struct {
	seconds float64
	stats   engine.Stats
}

// rollouts samples every trajectory of every group, whichever rank takes which, and returns all of them on every rank, in the order of
// groups and keys. A rank takes the next group by ticket whenever it has room: what a trajectory is follows from its key, so that who
// takes it is free. shares are the ranks'.
func (r *Ranks) rollouts(ctx context.Context, e *engine.Engine, what string, groups []engine.Group, s engine.Sampling) (
	trs []*engine.Trajectory, shares []share, err error) {
	r.calls++
	what = fmt.Sprintf("%s (run %d, rollouts %d)", what, r.run+1, r.calls) // tickets go by it: no two have the same
	start, before := time.Now(), e.Stats()
	if r.Size() == 1 {
		trs, err = e.Rollouts(ctx, groups, s)
		return trs, []share{{time.Since(start).Seconds(), e.Stats().Sub(before)}}, err
	}
	all := 0
	for _, g := range groups {
		all += len(g.Keys)
	}
	mine, err := e.RolloutsFrom(ctx, engine.Supply{
		Next: func() (engine.Group, bool, error) {
			t, err := r.Ticket(what)
			if err != nil || t >= len(groups) {
				return engine.Group{}, false, err
			}
			return groups[t], true, nil
		},
		Most: inFlight(all, r.Size()), All: (all + r.Size() - 1) / r.Size(),
		Step: func(done, live int) { r.did("%s: %d trajectories ended, %d in flight", what, done, live) },
	}, s)
	stop := ctx.Err() != nil
	if why := failed(ctx); why != nil {
		return nil, nil, why
	}
	if err != nil && !stop {
		return nil, nil, err
	}
	bytes, err := packed(mine, share{time.Since(start).Seconds(), e.Stats().Sub(before)}, stop)
	if err != nil {
		return nil, nil, err
	}
	waits := r.booked.waits
	everybody, err := r.gather("trajectories of "+what, bytes)
	if err != nil {
		return nil, nil, err
	}
	trs, shares, err = assembled(groups, all, everybody)
	if err == nil {
		err = e.TooManyLost(trs)
	}
	r.booked.waits -= min(idle(shares, r.Rank()), r.booked.waits-waits) // which is the tail
	return trs, shares, err
}

// inFlight is how many of n trajectories a rank has at a time at most: seven eighths of an even share. The others go to those that are
// done first, since nobody knows how long a trajectory will be: more of them begin late, fewer leave ranks idle at the end.
func inFlight(n, ranks int) int { return (7*n + 8*ranks - 1) / (8 * ranks) }

// idle is the time that a rank had no trajectory while another had.
func idle(shares []share, rank int) time.Duration {
	if len(shares) == 0 {
		return 0
	}
	longest := 0.0
	for _, s := range shares {
		longest = max(longest, s.seconds)
	}
	return time.Duration((longest - shares[rank].seconds) * float64(time.Second))
}

// packed is what one rank tells the others: whether it was asked to stop, its share, its trajectories.
func packed(trs []*engine.Trajectory, s share, stop bool) ([]byte, error) {
	if stop {
		return []byte{1}, nil
	}
	b := []byte{0}
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(s.seconds))
	b, err := binary.Append(b, binary.LittleEndian, s.stats)
	if err != nil {
		return nil, fmt.Errorf("trainer: counters of rollouts: %w", err)
	}
	return engine.AppendTrajectories(b, trs)
}

// assembled puts the trajectories of all ranks in the order of groups.
func assembled(groups []engine.Group, n int, everybody [][]byte) ([]*engine.Trajectory, []share, error) {
	byKey := make(map[int64]*engine.Trajectory, n)
	shares := make([]share, len(everybody))
	for rank, b := range everybody {
		if len(b) > 0 && b[0] == 1 {
			return nil, nil, askedToStop(rank)
		}
	}
	for rank, b := range everybody {
		const head = 1 + 8
		size := binary.Size(engine.Stats{})
		if len(b) < head+size {
			return nil, nil, fmt.Errorf("trainer: rank %d sent %d bytes as its trajectories", rank, len(b))
		}
		s := &shares[rank]
		s.seconds = math.Float64frombits(binary.LittleEndian.Uint64(b[1:]))
		if _, err := binary.Decode(b[head:], binary.LittleEndian, &s.stats); err != nil {
			return nil, nil, fmt.Errorf("trainer: counters of rank %d: %w", rank, err)
		}
		trs, err := engine.ReadTrajectories(b[head+size:])
		if err != nil {
			return nil, nil, fmt.Errorf("trainer: trajectories of rank %d: %w", rank, err)
		}
		for _, t := range trs {
			byKey[t.Key] = t
		}
	}
	trs := make([]*engine.Trajectory, 0, n)
	for _, g := range groups {
		for _, key := range g.Keys {
			t := byKey[key]
			if t == nil {
				return nil, nil, fmt.Errorf("trainer: no rank has trajectory %d", key)
			}
			trs = append(trs, t)
		}
	}
	return trs, shares, nil
}
