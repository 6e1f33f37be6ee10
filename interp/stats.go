package interp

import (
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// Stats is a snapshot of a pool's counters since New.
type Stats struct {
	Executions    int64            `json:"executions"`
	PerSecond     float64          `json:"per_second"` // over the pool's life
	Statuses      map[Status]int64 `json:"statuses"`
	QueueP50      time.Duration    `json:"queue_p50"` // of the latest 1,024 calls, as the next three
	QueueP99      time.Duration    `json:"queue_p99"`
	RunP50        time.Duration    `json:"run_p50"`
	RunP99        time.Duration    `json:"run_p99"`
	Warm          int              `json:"warm"`     // sessions ready
	Sessions      int              `json:"sessions"` // processes not yet gone
	Running       int              `json:"running"`
	Waiting       int              `json:"waiting"`
	ZygoteRSS     int64            `json:"zygote_rss"` // bytes, all fork servers
	Restarts      int64            `json:"restarts"`   // fork servers replaced
	SpawnFailures int64            `json:"spawn_failures"`
	Retried       int64            `json:"retried"` // calls run again after a fault of ours
	Errors        int64            `json:"errors"`  // calls lost to a fault of ours
}

// counters are a pool's statistics. note takes the lock once per cell.
type counters struct {
	start                                    time.Time
	restarts, spawnFailures, retried, errors atomic.Int64

	mu       sync.Mutex
	n        int64
	statuses map[Status]int64
	queue    [1024]time.Duration
	run      [1024]time.Duration
}

// reset forgets the self-test.
func (c *counters) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.start = time.Now()
	c.retried.Store(0)
	c.spawnFailures.Store(0)
}

func (c *counters) note(r Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.statuses == nil {
		c.statuses = map[Status]int64{}
	}
	c.statuses[r.Status]++
	c.queue[c.n%1024], c.run[c.n%1024] = r.Queue, r.Wall
	c.n++
}

func (c *counters) snapshot() Stats {
	s := Stats{Statuses: map[Status]int64{}, Restarts: c.restarts.Load(), SpawnFailures: c.spawnFailures.Load(),
		Retried: c.retried.Load(), Errors: c.errors.Load()}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Executions = c.n
	if d := time.Since(c.start).Seconds(); d > 0 {
		s.PerSecond = float64(c.n) / d
	}
	for k, v := range c.statuses {
		s.Statuses[k] = v
	}
	k := int(min(c.n, 1024))
	s.QueueP50, s.QueueP99 = quantiles(c.queue[:k])
	s.RunP50, s.RunP99 = quantiles(c.run[:k])
	return s
}

func quantiles(d []time.Duration) (p50, p99 time.Duration) {
	if len(d) == 0 {
		return 0, 0
	}
	d = append([]time.Duration(nil), d...)
	sort.Slice(d, func(i, j int) bool { return d[i] < d[j] })
	return d[len(d)/2], d[len(d)*99/100]
}
