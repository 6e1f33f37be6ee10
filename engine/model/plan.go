package model

import "retool/kernels"

// planner is a device that shares out the contexts of a decode step by a plan: a GPU.
type planner interface {
	PlanPages(p *kernels.PagePlan, lens []int32, h kernels.Heads)
}

// stepPlan is the plan of a padded step; in a steady state it allocates nothing.
type stepPlan struct {
	planner planner // nil: the device has none
	plan    kernels.PagePlan
	lens    []int32
	items   int // in the step's table: those of the plan, and some that are none; 0: no plan
}

// of plans a step that is padded, and returns how many numbers its table of work has.
func (p *stepPlan) of(batch []Feed, padded bool, h kernels.Heads) int {
	p.items, p.plan.Parts = 0, false
	if p.planner == nil || !padded {
		return 0
	}
	p.lens = p.lens[:0]
	for i := range batch {
		p.lens = append(p.lens, int32(batch[i].Pos+len(batch[i].IDs)))
	}
	p.planner.PlanPages(&p.plan, p.lens, h)
	p.items = padWork(len(p.plan.Work) / 2)
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
