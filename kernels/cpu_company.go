package kernels

import "time"

// company decides whether the caller's workers help it. They do, until one that had begun a share did not end it in time: another process
// has its core. A worker that stands still for some milliseconds of each few holds up the caller for as long, so that two threads beside a
// neighbour may be slower than the caller on the core that is left; where neighbours hold all cores, they are faster. Nothing but a trial
// tells: stretches with help and without, in turn. The better way stays for a while.
type company struct {
	watching bool // operations are timed
	alone    bool // the caller does all of them
	stretch  int  // of the trial; trialStretches: it is over
	work     int  // estimated ns of this stretch
	took     time.Duration
	rate     [2]float64    // with help, without
	rest     time.Time     // no trial before
	again    time.Duration // from the last trial that went for help to the next
}

const (
	trialStretches = 4
	trialFor       = 20 * time.Millisecond  // of operations: some turns of the system's scheduler
	holdFor        = 500 * time.Millisecond // of operations alone, or until the next trial after one that went for help:
	holdMost       = 2 * time.Second        // twice as long each time, up to this
)

// late says that a worker kept the caller waiting.
func (c *company) late(now time.Time) {
	if !c.watching && now.After(c.rest) {
		*c = company{watching: true, again: c.again}
	}
}

// add counts an operation that was estimated at cost ns and took so long; now is asked for rarely.
func (c *company) add(cost int, took time.Duration, now func() time.Time) {
	c.work += cost
	if c.took += took; c.stretch == trialStretches {
		if c.took >= holdFor { // alone: is it still better?
			*c = company{watching: true, alone: true}
		}
		return
	}
	if c.took < trialFor {
		return
	}
	mode := 0
	if c.alone {
		mode = 1
	}
	c.rate[mode] += float64(c.work) / float64(c.took)
	c.work, c.took, c.alone = 0, 0, !c.alone
	if c.stretch++; c.stretch == trialStretches {
		if c.alone = c.rate[1] > c.rate[0]; !c.alone {
			again := min(max(2*c.again, holdFor), holdMost)
			*c = company{rest: now().Add(again), again: again}
		}
	}
}
