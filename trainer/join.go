package trainer

import (
	"cmp"
	"fmt"
	"path/filepath"

	"retool/trainer/trace"
)

// join settles how many slices the ranks share, and that all of them go on from the same checkpoint.
func (r *Run) join() error {
	size, want := r.Comm.Size(), r.Config.Dist.Slices
	if r.Comm.Rank() != 0 {
		r.Report = silent{}
	}
	if err := r.Config.Dist.DivideAmong(size); err != nil {
		return err
	}
	slices := want
	if dir := Latest(r.Dir); dir != "" {
		s, err := ReadState(dir)
		if err != nil {
			return err
		}
		began, ranks := max(1, s.Slices), max(1, s.Ranks)
		if want == 0 && began%size == 0 {
			slices = began
		}
		r.ranks = NewRanks(r.Comm, slices)
		here := r.Config.Dist.Shard
		if there := cmp.Or(s.Shard, "optimizer"); there != here {
			r.Report.Note(fmt.Sprintf("the run ran with dist.shard %s and goes on with %s: from here on its bits differ from an uninterrupted run's",
				there, here))
		}
		if n := r.ranks.Slices; n != began || !sameSums(here, n, ranks, size) {
			r.Report.Note(fmt.Sprintf("the run ran on %s in minibatches of %s and goes on on %s in minibatches of %s: from here on its bits differ "+
				"from an uninterrupted run's", count(ranks, "rank"), count(began, "slice"), count(size, "rank"), count(n, "slice")))
		}
	}
	r.ranks = NewRanks(r.Comm, slices)
	r.ranks.Shard = r.Config.Dist.Shard
	n, err := r.Comm.Ticket("runs") // each rank takes one, and none begins another run before all have
	if err != nil {
		return err
	}
	r.ranks.run = n / size
	return r.sameCheckpoint()
}

// sameSums reports whether sums over so many slices have the same bits on a and on b ranks: each rank adds its own slices first, which is
// what the tree does if there is one rank, or if they are 1, 2, 4, 8 and so on. Where models are divided the ranks come first: then it is
// they that are to be one of these, or as many as slices.
func sameSums(shard string, slices, a, b int) bool {
	asTree := func(ranks int) bool {
		each := slices / ranks
		if shard == "all" {
			return slices%ranks == 0 && (each == 1 || ranks&(ranks-1) == 0)
		}
		return ranks == 1 || slices%ranks == 0 && each&(each-1) == 0
	}
	return a == b || asTree(a) && asTree(b)
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// sameCheckpoint refuses ranks that see different run directories, or one directory at different times.
func (r *Run) sameCheckpoint() error {
	mine := ""
	if dir := Latest(r.Dir); dir != "" {
		mine = filepath.Base(dir)
	}
	all, err := r.ranks.gather("checkpoint to go on from", []byte(mine))
	if err != nil {
		return err
	}
	for rank, b := range all {
		if name := string(b); name != string(all[0]) {
			return fmt.Errorf("trainer: rank %d goes on from checkpoint %q, rank 0 from %q: all ranks need one run directory", rank, name, all[0])
		}
	}
	return nil
}

// silent is the report of the ranks that rank 0 speaks for.
type silent struct{}

func (silent) Phase(string, int, int)     {}
func (silent) Step(trace.Metrics)         {}
func (silent) Evaluated(trace.Evaluation) {}
func (silent) Note(string)                {}
