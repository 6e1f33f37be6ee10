package emu

func (c *compiler) step(s *step) {
	in := c.in
	switch in.op {
	case "bra":
		c.has("uni")
		s.kind, s.target = branch, in.target
	case "ret", "exit":
		c.has("uni")
		s.kind = leave
	case "trap", "brkpt":
		s.kind = plain
		s.run = func(w *warp, m uint32) {
			w.report(Report{Kind: Deadlock, Detail: "the kernel trapped"}, in)
			w.b.dead = true
		}
	case "bar", "barrier":
		c.barrier(s)
	case "shfl":
		c.shfl(s)
	case "vote", "match", "redux":
		c.vote(s)
	case "activemask":
		c.typ()
		d := c.dst(0)
		s.run = func(w *warp, m uint32) { each(m, func(l int) { w.r[d][l] = uint64(m) }) }
	case "mma":
		c.mma(s)
	case "ldmatrix":
		c.ldmatrix(s)
	case "cp":
		c.async(s)
	case "mbarrier":
		c.mbarrier(s)
	case "wgmma":
		c.wgmma(s)
	case "elect":
		c.elect(s)
	case "setmaxnreg":
		c.has("inc", "dec")
		c.has("sync")
		c.has("aligned")
		c.typ()
		s.kind = gather
		s.run = func(*warp, uint32) {}
	case "ld", "ldu":
		c.load(s)
	case "st":
		c.store(s)
	case "atom", "red":
		c.atomic(s)
	case "membar", "fence":
		// What these order is ordered here: execution is sequentially consistent.
		if c.has("proxy") {
			if c.one("async", "async::shared::cta", "async.shared::cta") != "" {
				c.has("shared::cta")
				s.run = func(w *warp, m uint32) { w.fenceProxy(m) }
				break
			}
		}
		if c.has("mbarrier_init") {
			c.has("release")
		}
		c.one("cta", "gl", "sys", "gpu", "cluster")
		c.one("sc", "acq_rel")
		c.one("cta", "gl", "sys", "gpu", "cluster")
		s.run = func(*warp, uint32) {}
	case "nanosleep":
		c.typ()
		s.run = func(*warp, uint32) {}
	case "prefetch":
		for i := range c.used {
			c.used[i] = true
		}
		s.run = func(*warp, uint32) {}
	default:
		s.run = c.arithmetic()
	}
}
