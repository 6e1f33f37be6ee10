package model

import "retool/kernels"

// planner is a device that shares out the contexts of a step by a plan: a GPU.
type planner interface {
	PlanPages(p *kernels.PagePlan, fresh, lens []int32, h kernels.Heads)
}

// stepPlan is the plan of a step; in a steady state it allocates nothing.
type stepPlan struct {
	planner     planner // nil: the device has none
	plan        kernels.PagePlan
	fresh, lens []int32 // of each feed: its tokens, and those of its context with them
	items       int     // in the step's table: those of the plan, and in a padded step some that are none; 0: no plan
}

// of plans a step, and returns how many numbers its table of work has.
func (p *stepPlan) of(batch []Feed, padded bool, h kernels.Heads) int {
	p.items = 0
	if p.planner == nil {
		return 0
	}
	p.fresh, p.lens = p.fresh[:0], p.lens[:0]
	for i := range batch {
		n := len(batch[i].IDs)
		p.fresh, p.lens = append(p.fresh, int32(n)), append(p.lens, int32(batch[i].Pos+n))
	}
	p.planner.PlanPages(&p.plan, p.fresh, p.lens, h)
	p.items = len(p.plan.Work) / 2
	if padded {
		p.items = padWork(p.items)
	}
	return 2 * p.items
}

// padWork is how many items a plan of n is padded to, so that few graphs serve: at most an eighth more, or 16.
func padWork(n int) int {
	step := 16
	for step*16 <= n {
		step *= 2
	}
	return (n + step - 1) / step * step
}

// put fills the table of work.
func (p *stepPlan) put(work []int32) {
	for i := copy(work, p.plan.Work); i < len(work); i++ {
		work[i] = -1
	}
}
