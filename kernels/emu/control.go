package emu

func (c *compiler) branch(s *step) {
	c.has("uni")
	s.kind, s.target = branch, c.in.target
}

// leave is ret and exit.
func (c *compiler) leave(s *step) {
	c.has("uni")
	s.kind = leave
}

// trap is trap and brkpt.
func (c *compiler) trap(s *step) {
	s.run = func(w *warp, m uint32) {
		w.report(Report{Kind: Deadlock, Detail: "the kernel trapped"}, s.in)
		w.b.dead = true
	}
}

func idle(*warp, uint32) {}

func (c *compiler) nanosleep(s *step) {
	c.typ()
	s.run = idle
}

func (c *compiler) prefetch(s *step) {
	for i := range c.used {
		c.used[i] = true
	}
	s.run = idle
}

func (c *compiler) setmaxnreg(s *step) {
	c.has("inc", "dec")
	c.has("sync")
	c.has("aligned")
	c.typ()
	s.kind, s.run = gather, idle
}

// fence is fence and membar. What these order is ordered here, for execution is sequentially consistent; all but what a fence.proxy.async
// orders.
func (c *compiler) fence(s *step) {
	if c.has("proxy") && c.one("async", "async::shared::cta", "async.shared::cta") != "" {
		c.has("shared::cta")
		s.run = func(w *warp, m uint32) { w.fenceProxy(m) }
		return
	}
	if c.has("mbarrier_init") {
		c.has("release")
	}
	c.one("cta", "gl", "sys", "gpu", "cluster")
	c.one("sc", "acq_rel")
	c.one("cta", "gl", "sys", "gpu", "cluster")
	s.run = idle
}

func (c *compiler) activemask(s *step) {
	c.typ()
	d := c.dst(0)
	s.run = func(w *warp, m uint32) { each(m, func(l int) { w.r[d][l] = uint64(m) }) }
}
