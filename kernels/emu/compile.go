package emu

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// compiler turns the instructions of one entry into closures. Every operand is a register: special registers and constants stand behind
// the declared ones.
type compiler struct {
	p      *program
	consts map[uint64]int
	in     *instr
	used   []bool // modifiers that the instruction's case has looked at
	err    error
}

// compile makes an entry runnable. An instruction or a modifier that is not known is an error: nothing is skipped.
func (m *loaded) compile(name string) (*program, error) {
	f := m.mod.entries[name]
	if f == nil {
		return nil, fmt.Errorf("emu: the module has no entry %s", name)
	}
	if err := m.mod.body(f); err != nil {
		return nil, err
	}
	p := &program{f: f, nregs: len(f.regs), module: m}
	p.place(m.mod)
	c := &compiler{p: p, consts: map[uint64]int{}}
	for i := range f.code {
		c.in = &f.code[i]
		c.used = make([]bool, len(c.in.parts))
		c.used[0] = true
		s := step{in: c.in, guard: c.in.guard, negate: c.in.negate, members: none}
		c.step(&s)
		for j, u := range c.used {
			if !u && c.err == nil {
				c.fail("modifier .%s is not emulated", c.in.parts[j])
			}
		}
		if c.err != nil {
			return nil, c.err
		}
		p.steps = append(p.steps, s)
	}
	return p, nil
}

// place gives shared variables their addresses: static, then dynamic at its alignment.
func (p *program) place(m *module) {
	at := sharedBase
	var dyn *variable
	vars := slices.Clone(p.f.shared)
	names := make([]string, 0, len(m.vars))
	for n := range m.vars {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if m.vars[n].space == "shared" {
			vars = append(vars, m.vars[n])
		}
	}
	align := 16
	for _, v := range vars {
		if v.extern {
			align = max(align, v.align)
			dyn = v
			continue
		}
		at = (at + v.align - 1) / v.align * v.align
		v.addr = uint64(at)
		at += v.size
		p.shared = append(p.shared, v)
	}
	p.static = at - sharedBase
	at = (at + align - 1) / align * align
	p.dynAt = at - sharedBase
	if dyn == nil {
		p.dynAt = p.static
	}
	for _, v := range vars {
		if v.extern {
			v.addr = uint64(at)
		}
	}
	p.dyn = dyn
}

func (c *compiler) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("emu: %s: PTX line %d: %s: %s", c.p.f.name, c.in.line, strings.Join(c.in.parts, "."), fmt.Sprintf(format, args...))
	}
}

// has reports and consumes a modifier.
func (c *compiler) has(mods ...string) bool {
	for i := 1; i < len(c.in.parts); i++ {
		if !c.used[i] && slices.Contains(mods, c.in.parts[i]) {
			c.used[i] = true
			return true
		}
	}
	return false
}

// one consumes the modifier that is one of mods and returns it; "" if none is.
func (c *compiler) one(mods ...string) string {
	for i := 1; i < len(c.in.parts); i++ {
		if !c.used[i] && slices.Contains(mods, c.in.parts[i]) {
			c.used[i] = true
			return c.in.parts[i]
		}
	}
	return ""
}

// typ consumes the last type among the modifiers.
func (c *compiler) typ() typ {
	for i := len(c.in.parts) - 1; i > 0; i-- {
		if t, ok := typeOf(c.in.parts[i]); ok && !c.used[i] {
			c.used[i] = true
			return t
		}
	}
	c.fail("no type")
	return typ{name: "u32", size: 4}
}

// types consumes all n types, first to last.
func (c *compiler) types(n int) []typ {
	var ts []typ
	for i := 1; i < len(c.in.parts); i++ {
		if t, ok := typeOf(c.in.parts[i]); ok && !c.used[i] {
			c.used[i] = true
			ts = append(ts, t)
		}
	}
	if len(ts) != n {
		c.fail("%d types, want %d", len(ts), n)
		return make([]typ, n)
	}
	return ts
}

func (c *compiler) args(n int) bool {
	if len(c.in.args) != n {
		c.fail("%d operands, want %d", len(c.in.args), n)
		return false
	}
	return true
}

func (c *compiler) constant(v uint64) int {
	if r, ok := c.consts[v]; ok {
		return r
	}
	r := c.p.nregs + specialCount + len(c.p.consts)
	c.p.consts = append(c.p.consts, v)
	c.consts[v] = r
	return r
}

// src is the register that holds operand i, whose type is t.
func (c *compiler) src(i int, t typ) int {
	if i >= len(c.in.args) {
		c.fail("operand %d is missing", i)
		return 0
	}
	return c.value(c.in.args[i], t)
}

func (c *compiler) value(o operand, t typ) int {
	switch o.kind {
	case regOperand:
		if o.negate {
			c.fail("a negated register where none may stand")
		}
		return o.reg
	case specialOpernd:
		return c.p.nregs + specials[o.name]
	case immOperand:
		v := o.imm
		if t.float && o.float == 0 && t.name != "f16" && t.name != "bf16" && v != 0 {
			c.fail("an integer literal where a float stands")
		}
		return c.constant(v & t.mask())
	case varOperand:
		return c.constant(c.address(o) & t.mask())
	}
	c.fail("operand %q cannot be read", o.name)
	return 0
}

// address is the number that stands for a variable: its address in its own space.
func (c *compiler) address(o operand) uint64 {
	v := o.v
	if v.space == "global" || v.space == "const" {
		v.addr = c.p.module.global(v)
	}
	return v.addr + uint64(o.off)
}

// dst is the register that operand i names; a sink gets a register of its own.
func (c *compiler) dst(i int) int {
	if i >= len(c.in.args) {
		c.fail("operand %d is missing", i)
		return 0
	}
	return c.target(c.in.args[i])
}

func (c *compiler) target(o operand) int {
	switch o.kind {
	case regOperand:
		return o.reg
	case sinkOperand:
		return c.constant(0xdead_0000_0000_0000 | uint64(len(c.p.consts))) // never read
	}
	c.fail("the result cannot go to operand %q", o.name)
	return 0
}

// addr is an address operand: base register and offset.
func (c *compiler) addr(i int) (int, int64) {
	if i >= len(c.in.args) || c.in.args[i].kind != addrOperand || len(c.in.args[i].list) != 1 {
		c.fail("operand %d is not an address", i)
		return 0, 0
	}
	o := c.in.args[i]
	return c.value(o.list[0], typ{name: "u64", size: 8}), o.off
}

func (c *compiler) space() space {
	switch {
	case c.has("global", "const"):
		return global
	case c.has("shared", "shared::cta"):
		return shared
	case c.has("local"):
		return local
	case c.has("param"):
		return param
	}
	return generic
}

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

// each calls f for every lane of m.
func each(m uint32, f func(l int)) {
	for ; m != 0; m &= m - 1 {
		f(bits.TrailingZeros32(m))
	}
}

func (c *compiler) load(s *step) {
	sp := c.space()
	c.one("volatile", "relaxed", "acquire", "weak", "mmio")
	c.one("cta", "gpu", "sys", "cluster")
	c.has("nc")
	c.one("ca", "cg", "cs", "lu", "cv")
	c.has("L1::evict_first", "L1::no_allocate", "L1::evict_last")
	c.has("L2::128B", "L2::256B", "L2::64B")
	n := map[string]int{"v2": 2, "v4": 4, "": 1}[c.one("v2", "v4")]
	t := c.typ()
	base, off := c.addr(1)
	dsts := make([]int, n)
	ext := make([]uint64, n) // sign bits, to the width of the register
	for i := range n {
		o := c.in.args[0]
		if n > 1 {
			if o.kind != vecOperand || len(o.list) != n {
				c.fail("the result is not a vector of %d", n)
				return
			}
			o = o.list[i]
		}
		dsts[i] = c.target(o)
		if t.signed && t.size < 8 && o.kind == regOperand {
			ext[i] = c.p.f.regs[o.reg].typ.mask() &^ t.mask()
		}
	}
	size := t.size
	sign := uint64(1) << (t.bits() - 1)
	if n == 1 && ext[0] == 0 {
		d := dsts[0]
		s.run = func(w *warp, m uint32) {
			a, to := &w.r[base], &w.r[d]
			if w.b.shadow != nil {
				w.traffic(sp, a, off, m, size)
			}
			for ; m != 0; m &= m - 1 {
				l := bits.TrailingZeros32(m)
				to[l] = get(w.mem(sp, a[l]+uint64(off), size, l, false, false, nil), size)
			}
		}
		return
	}
	s.run = func(w *warp, m uint32) {
		a := &w.r[base]
		if w.b.shadow != nil {
			w.traffic(sp, a, off, m, size*n)
		}
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			b := w.mem(sp, a[l]+uint64(off), size*n, l, false, false, nil)
			for i, d := range dsts {
				v := get(b[i*size:], size)
				if v&sign != 0 {
					v |= ext[i]
				}
				w.r[d][l] = v
			}
		}
	}
}

func (c *compiler) store(s *step) {
	sp := c.space()
	c.one("volatile", "relaxed", "release", "weak", "mmio")
	c.one("cta", "gpu", "sys", "cluster")
	c.one("wb", "cg", "cs", "wt")
	n := map[string]int{"v2": 2, "v4": 4, "": 1}[c.one("v2", "v4")]
	t := c.typ()
	base, off := c.addr(0)
	if !c.args(2) {
		return
	}
	srcs := make([]int, n)
	for i := range n {
		o := c.in.args[1]
		if n > 1 {
			if o.kind != vecOperand || len(o.list) != n {
				c.fail("the value is not a vector of %d", n)
				return
			}
			o = o.list[i]
		}
		srcs[i] = c.value(o, t)
	}
	size := t.size
	s.run = func(w *warp, m uint32) {
		a := &w.r[base]
		if w.b.shadow != nil {
			w.traffic(sp, a, off, m, size*n)
		}
		var buf [16]byte
		data := buf[:size*n]
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			for i, r := range srcs {
				put(data[i*size:], size, w.r[r][l])
			}
			copy(w.mem(sp, a[l]+uint64(off), size*n, l, true, false, data), data)
		}
	}
}

// atomic is atom and red: one lane after the other.
func (c *compiler) atomic(s *step) {
	sp := c.space()
	c.one("relaxed", "acquire", "release", "acq_rel")
	c.one("cta", "gpu", "sys", "cluster")
	op := c.one("add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec")
	t := c.typ()
	at, d := 0, none
	if c.in.op == "atom" {
		d, at = c.dst(0), 1
	}
	base, off := c.addr(at)
	b := c.src(at+1, t)
	third := none
	if op == "cas" {
		third = c.src(at+2, t)
	}
	var f func(x, y uint64) uint64
	switch op {
	case "add", "min", "max", "and", "or", "xor":
		f = integer(op, t)
		if t.float {
			f = floating(op, t, false)
		}
	case "exch", "cas":
		f = func(_, y uint64) uint64 { return y }
	case "inc":
		f = func(x, y uint64) uint64 {
			if x >= y {
				return 0
			}
			return x + 1
		}
	case "dec":
		f = func(x, y uint64) uint64 {
			if x == 0 || x > y {
				return y
			}
			return x - 1
		}
	}
	if f == nil {
		c.fail("the operation is not emulated")
		return
	}
	size, mask := t.size, t.mask()
	s.run = func(w *warp, m uint32) {
		var data [8]byte
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			addr := w.r[base][l] + uint64(off)
			cur := w.mem(sp, addr, size, l, false, true, nil)
			old := get(cur, size)
			v := f(old, w.r[b][l]) & mask
			write := true
			if third != none {
				if write = old == w.r[b][l]&mask; write {
					v = w.r[third][l] & mask
				}
			}
			if write {
				put(data[:], size, v)
				copy(w.mem(sp, addr, size, l, true, true, data[:size]), data[:size])
			}
			if d != none {
				w.r[d][l] = old
			}
		}
	}
}

func (c *compiler) barrier(s *step) {
	if c.has("warp") {
		c.has("sync")
		c.has("aligned")
		s.kind = gather
		s.members = c.src(0, typ{name: "b32", size: 4})
		s.run = func(w *warp, m uint32) { w.syncLanes(m) }
		return
	}
	c.has("cta")
	op := &barOp{count: none, dst: none, src: none}
	s.kind, s.bar = barrier, op
	b32 := typ{name: "b32", size: 4}
	at := 0
	switch c.one("sync", "arrive", "red") {
	case "sync":
	case "arrive":
		op.arrive = true
	case "red":
		op.red = c.one("popc", "and", "or")
		c.typ()
		op.dst = c.dst(0)
		at = 1
	default:
		c.fail("not emulated")
	}
	c.has("aligned")
	op.id = c.src(at, b32)
	at++
	n := len(c.in.args)
	if op.red != "" {
		n--
		o := c.in.args[n]
		if o.kind != regOperand {
			c.fail("the predicate is not a register")
			return
		}
		op.src, op.negate = o.reg, o.negate
	}
	if at < n {
		op.count = c.src(at, b32)
	}
}

func (c *compiler) shfl(s *step) {
	c.has("sync")
	mode := c.one("up", "down", "bfly", "idx")
	b32 := c.typ()
	d, p := none, none
	if len(c.in.args) != 5 || mode == "" {
		c.fail("want shfl.sync.mode.b32 d[|p], a, b, c, members")
		return
	}
	if o := c.in.args[0]; o.kind == pairOperand {
		d, p = c.target(o.list[0]), c.target(o.list[1])
	} else {
		d = c.target(o)
	}
	a, b, cl := c.src(1, b32), c.src(2, b32), c.src(3, b32)
	s.kind, s.members = gather, c.src(4, b32)
	in := c.in
	s.run = func(w *warp, m uint32) {
		from := w.r[a]
		for mm := m; mm != 0; mm &= mm - 1 {
			lane := bits.TrailingZeros32(mm)
			bv, cv := int(w.r[b][lane]&31), int(w.r[cl][lane])
			clamp, seg := cv&31, cv>>8&31
			maxLane, minLane := lane&seg|clamp&^seg, lane&seg
			j, ok := lane, false
			switch mode {
			case "up":
				j = lane - bv
				ok = j >= maxLane
			case "down":
				j = lane + bv
				ok = j <= maxLane
			case "bfly":
				j = lane ^ bv
				ok = j <= maxLane
			case "idx":
				j = minLane | bv&^seg
				ok = j <= maxLane
			}
			if !ok {
				j = lane
			}
			v := from[j]
			if m>>j&1 == 0 {
				w.report(Report{Kind: Mask, Detail: fmt.Sprintf("lane %d reads lane %d, which does not take part (%#x do)", lane, j, m)}, in)
				v = 0xffffffff
			}
			w.r[d][lane] = v
			if p != none {
				w.r[p][lane] = b2u(ok)
			}
		}
	}
}

// vote is vote, match and redux.
func (c *compiler) vote(s *step) {
	c.has("sync")
	b32 := typ{name: "b32", size: 4}
	s.kind = gather
	n := len(c.in.args)
	if n != 3 {
		c.fail("%d operands, want 3", n)
		return
	}
	s.members = c.src(2, b32)
	switch c.in.op {
	case "vote":
		mode := c.one("all", "any", "uni", "ballot")
		c.typ()
		d, o := c.dst(0), c.in.args[1]
		if o.kind == immOperand {
			o = operand{kind: regOperand, reg: c.constant(o.imm & 1)}
		}
		if o.kind != regOperand {
			c.fail("the predicate is not a register")
			return
		}
		s.run = func(w *warp, m uint32) {
			p := w.predicate(o.reg)
			if o.negate {
				p = ^p
			}
			p &= m
			v := uint64(p)
			switch mode {
			case "all":
				v = b2u(p == m)
			case "any":
				v = b2u(p != 0)
			case "uni":
				v = b2u(p == m || p == 0)
			}
			each(m, func(l int) { w.r[d][l] = v })
		}
	case "match":
		mode := c.one("any", "all")
		t := c.typ()
		a := c.src(1, t)
		d, p := none, none
		if o := c.in.args[0]; o.kind == pairOperand {
			d, p = c.target(o.list[0]), c.target(o.list[1])
		} else {
			d = c.target(o)
		}
		s.run = func(w *warp, m uint32) {
			v := w.r[a]
			each(m, func(l int) {
				var same uint32
				each(m, func(k int) {
					if v[k] == v[l] {
						same |= 1 << k
					}
				})
				if mode == "all" && same != m {
					same = 0
				}
				w.r[d][l] = uint64(same)
				if p != none {
					w.r[p][l] = b2u(same == m)
				}
			})
		}
	case "redux":
		op := c.one("add", "min", "max", "and", "or", "xor")
		t := c.typ()
		d, a, f := c.dst(0), c.src(1, t), integer(op, t)
		if f == nil {
			c.fail("the operation is not emulated")
			return
		}
		s.run = func(w *warp, m uint32) {
			v := w.r[a][bits.TrailingZeros32(m)]
			each(m&(m-1), func(l int) { v = f(v, w.r[a][l]) & t.mask() })
			each(m, func(l int) { w.r[d][l] = v })
		}
	}
}
