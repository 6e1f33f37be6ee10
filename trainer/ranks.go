package trainer

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	"retool/trainer/dist"
	"retool/trainer/trace"
)

// Dist is how the work of a run is cut for its ranks, and how they meet.
type Dist struct {
	dist.Settings `yaml:",inline"`

	Slices int `yaml:"slices" doc:"parts of a minibatch, gradients added in pairs: bits of so many ranks, on one too; 0: ranks it began with"`

	Shard string `yaml:"shard" doc:"divided among ranks: optimizer; all, weights and gradients too, with bits of its own" resume:"free"`

	Offload string `yaml:"offload" doc:"none; optimizer: moments and master copy on the host, streamed at an update; equal bits" resume:"free"`
}

// maxSlices is more than there will be ranks: each slice, be it empty, is a pass of every update.
const maxSlices = 4096

// DivideAmong refuses slices that so many ranks cannot have the same number of.
func (d Dist) DivideAmong(ranks int) error {
	if d.Slices%ranks != 0 {
		return fmt.Errorf("dist.slices: %d slices do not divide among %d ranks: want a multiple, or 0", d.Slices, ranks)
	}
	return nil
}

// Ranks are the processes that share a run, each with a device; Comm.Rank is this one's place. Whatever is a function of the
// trajectories is computed alike on all of them; what is summed is summed over Slices parts of a minibatch, of which a rank has as many
// neighbours: so the sums do not show how many ranks there are.
type Ranks struct {
	dist.Comm
	Slices int    // a multiple of Size
	Shard  string // as dist.shard: optimizer, also "", or all

	run      int   // of this run among those that the ranks have made one after the other
	calls    int   // of rollouts, all ranks' alike
	progress int64 // what Doing is told
	booked   booked
	waited   time.Duration // what Comm.Waited said last
}

// booked is the time of a rank's collectives.
type booked struct {
	spent time.Duration // once all had come
	waits time.Duration // for others to come to them
}

// since is a step's share of exchanges, the step having taken seconds and begun when b was booked; nil of a single rank.
func (r *Ranks) since(b booked, seconds float64) *trace.Ranks {
	if r.Size() == 1 {
		return nil
	}
	return &trace.Ranks{Exchange: (r.booked.spent - b.spent).Seconds() / seconds, Wait: (r.booked.waits - b.waits).Seconds() / seconds}
}

// NewRanks joins a run's ranks; no comm is a single one, no slices one for each rank. It panics where slices do not divide among them.
func NewRanks(comm dist.Comm, slices int) *Ranks {
	if comm == nil {
		comm = &dist.Alone{}
	}
	if slices == 0 {
		slices = comm.Size()
	}
	if slices%comm.Size() != 0 {
		panic(fmt.Sprintf("trainer: %d slices do not divide among %d ranks", slices, comm.Size()))
	}
	return &Ranks{Comm: comm, Slices: slices}
}

// leads reports whether this rank is the one that writes logs and reports.
func (r *Ranks) leads() bool { return r.Rank() == 0 }

// each is the number of slices that a rank has.
func (r *Ranks) each() int { return r.Slices / r.Size() }

// mine is this rank's slices of n: neighbours, or of a divided model every Size-th.
func (r *Ranks) mine(all [][]*Batch) (mine [][]*Batch) {
	if !r.divides() {
		return all[r.Rank()*r.each():][:r.each()]
	}
	for s := r.Rank(); s < len(all); s += r.Size() {
		mine = append(mine, all[s])
	}
	return mine
}

// passes gives do this rank's passes of a minibatch, at most tokens each, with the share of them that is behind it, and calls
// sliced where one of its slices ends. do returns width numbers; those of all passes of all ranks come back by slice and pass.
// Of a divided model the ranks go through rounds together, each through a pass of every slice it has, where sliced ends the pass; do is
// given nil where there is none.
func (r *Ranks) passes(what string, mini []*Episode, tokens int, weight float32, width int,
	do func(b *Batch, where string, share float64) ([]float64, error), sliced func() error) ([]float64, error) {
	var all [][]*Batch
	rounds := 0
	for _, s := range slicesOf(mini, r.Slices) {
		plan := Pack(s, tokens, weight)
		all, rounds = append(all, plan), max(rounds, len(plan))
	}
	mine := r.mine(all)
	count, did := 0, 0
	for _, plan := range mine {
		count += len(plan)
	}
	var sums []float64
	pass := func(i, j int, b *Batch) ([]float64, error) {
		share := float64(did) / float64(max(count, 1))
		if b != nil {
			did++
		}
		return do(b, fmt.Sprintf("slice %d of %d, pass %d of %d", i+1, r.each(), j+1, len(mine[i])), share)
	}
	if r.divides() {
		sums = make([]float64, len(mine)*rounds*width)
		for j := range rounds {
			for i, plan := range mine {
				var b *Batch
				if j < len(plan) {
					b = plan[j]
				}
				sum, err := pass(i, j, b)
				if err == nil {
					err = sliced()
				}
				if err != nil {
					return nil, err
				}
				copy(sums[(i*rounds+j)*width:], sum)
			}
		}
		sums, err := r.numbers(what, sums)
		return r.bySlice(sums, rounds*width), err
	}
	for i, plan := range mine {
		for j, b := range plan {
			sum, err := pass(i, j, b)
			if err != nil {
				return nil, err
			}
			sums = append(sums, sum...)
		}
		if err := sliced(); err != nil {
			return nil, err
		}
	}
	return r.numbers(what, sums)
}

// bySlice orders what all ranks say of their slices, n numbers each, of a divided model.
func (r *Ranks) bySlice(sums []float64, n int) []float64 {
	out := make([]float64, 0, len(sums))
	for s := range len(sums) / max(1, n) {
		at := (s%r.Size()*r.each() + s/r.Size()) * n
		out = append(out, sums[at:at+n]...)
	}
	return out
}

// slicesOf divides a minibatch in n slices: the longest episode first, each to the slice with the fewest tokens. Within a slice episodes
// stay in the minibatch's order, so that one slice is the minibatch.
func slicesOf(mini []*Episode, n int) [][]*Episode {
	order := make([]int, len(mini))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(mini[b].Len(), mini[a].Len()) })
	in, tokens := make([][]int, n), make([]int, n)
	for _, i := range order {
		least := 0
		for s := range tokens {
			if tokens[s] < tokens[least] {
				least = s
			}
		}
		in[least] = append(in[least], i)
		tokens[least] += mini[i].Len()
	}
	out := make([][]*Episode, n)
	for s, list := range in {
		slices.Sort(list)
		for _, i := range list {
			out[s] = append(out[s], mini[i])
		}
	}
	return out
}

// gather is Comm.Gather with its time booked.
func (r *Ranks) gather(what string, mine []byte) ([][]byte, error) {
	defer r.book(time.Now())
	return r.Gather(what, mine)
}

// wait ends a collective of tensors, begun at start.
func (r *Ranks) wait(start time.Time, p dist.Pending) error {
	defer r.book(start)
	return p.Wait()
}

// book is told of a collective that began at start.
func (r *Ranks) book(start time.Time) {
	took, waited := time.Since(start), r.Waited()
	wait := min(waited-r.waited, took)
	r.booked, r.waited = booked{r.booked.spent + took - wait, r.booked.waits + wait}, waited
}

// numbers is every rank's numbers, in the order of ranks: of slices, where each rank gives its own in order.
func (r *Ranks) numbers(what string, mine []float64) ([]float64, error) {
	if r.Size() == 1 {
		return mine, nil
	}
	bytes := make([]byte, 0, 8*len(mine))
	for _, x := range mine {
		bytes = binary.LittleEndian.AppendUint64(bytes, math.Float64bits(x))
	}
	all, err := r.gather(what, bytes)
	if err != nil {
		return nil, err
	}
	var out []float64
	for _, b := range all {
		for ; len(b) >= 8; b = b[8:] {
			out = append(out, math.Float64frombits(binary.LittleEndian.Uint64(b)))
		}
	}
	return out, nil
}

// agree makes one rank's error everybody's: the first one's, with its rank and host. Nobody goes on alone.
func (r *Ranks) agree(what string, mine error) error {
	if r.Size() == 1 {
		return mine
	}
	var text string
	if mine != nil {
		host, _ := os.Hostname()
		text = fmt.Sprintf("rank %d (%s): %v", r.Rank(), host, mine)
	}
	all, err := r.gather(what, []byte(text))
	if err != nil {
		return err
	}
	for rank, b := range all {
		switch {
		case len(b) == 0:
		case rank == r.Rank():
			return fmt.Errorf("rank %d: %w", rank, mine)
		default:
			return errors.New(string(b))
		}
	}
	return nil
}

// stopped is the error of ctx on all ranks, if it has ended on any: a signal reaches them at different times. Where it ended for a reason
// of this rank's own, that is the error, and the others hear that this rank has one.
func (r *Ranks) stopped(ctx context.Context, what string) error {
	if r.Size() == 1 {
		return ctx.Err()
	}
	if err := failed(ctx); err != nil {
		return err
	}
	var stop []byte
	if ctx.Err() != nil {
		stop = []byte{1}
	}
	all, err := r.gather(what, stop)
	if err != nil {
		return err
	}
	for rank, b := range all {
		if len(b) > 0 {
			return askedToStop(rank)
		}
	}
	return nil
}

// failed is the error that ended ctx; nil, where it has not ended, or was asked to.
func failed(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// GoesOn says what is left of a run that was asked to stop.
const GoesOn = "the same command goes on from the last checkpoint if run= names the directory"

// askedToStop is the end of all ranks' work since one was asked to; errors.Is takes it for context.Canceled.
type askedToStop int

func (rank askedToStop) Error() string {
	return fmt.Sprintf("rank %d was asked to stop; %s", int(rank), GoesOn)
}

// Is makes it context.Canceled.
func (askedToStop) Is(target error) bool { return target == context.Canceled }

// did says what this rank has come to. Nothing is formatted where nobody listens.
func (r *Ranks) did(format string, args ...any) {
	r.progress++
	if r.Size() > 1 {
		r.Doing(r.progress, format, args...)
	}
}
