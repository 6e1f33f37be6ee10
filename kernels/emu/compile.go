package emu

import (
	"fmt"
	"slices"
	"strings"
)

// exec does one instruction for the lanes of active.
type exec func(w *warp, active uint32)

type stepKind uint8

const (
	plain   stepKind = iota
	branch           // to target
	leave            // ret, exit
	gather           // needs all live lanes of its members: shfl, vote, mma; then runs as plain
	barrier          // bar: needs the whole warp, then the block
)

// step is one compiled instruction.
type step struct {
	kind    stepKind
	guard   int // register, or none
	negate  bool
	run     exec
	target  int
	members int // gather: register of the member mask, or none for the whole warp
	bar     *barOp
	in      *instr
}

// program is one compiled entry.
type program struct {
	f      *function
	steps  []step
	consts []uint64 // values of the registers behind the special ones
	nregs  int      // rows of declared registers; then the special ones, then the constants
	static int      // bytes of static shared memory
	dynAt  int      // where dynamic shared memory begins, from sharedBase
	shared []*variable
	dyn    *variable
	module *loaded
	spare  [][][lanes]uint64 // registers of warps that have ended
}

// compiler turns the instructions of one entry into closures. Every operand is a row of registers: special ones and constants stand behind
// the declared ones.
type compiler struct {
	p      *program
	row    []int // of each declared register
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
	row, n := rows(f.code, len(f.regs))
	p := &program{f: f, nregs: n, module: m}
	p.place(m.mod)
	c := &compiler{p: p, row: row, consts: map[uint64]int{}}
	for i := range f.code {
		c.in = &f.code[i]
		c.used = make([]bool, len(c.in.parts))
		c.used[0] = true
		s := step{in: c.in, guard: none, negate: c.in.negate, members: none}
		if g := c.in.guard; g != none {
			s.guard = c.row[g]
		}
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
		at = roundUp(at, v.align)
		v.addr = uint64(at)
		at += v.size
		p.shared = append(p.shared, v)
	}
	p.static = at - sharedBase
	at = roundUp(at, align)
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
	return u32Type
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
		return c.touch(o.reg, false)
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
		return c.touch(o.reg, true)
	case sinkOperand:
		return c.constant(0xdead_0000_0000_0000 | uint64(len(c.p.consts))) // never read
	}
	c.fail("the result cannot go to operand %q", o.name)
	return 0
}

// touch is the row of a register that the instruction at work reads, or writes. That it does must have been known when rows were given.
func (c *compiler) touch(r int, written bool) int {
	known := false
	c.in.touches(func(other int, w bool) { known = known || other == r && w == written })
	if !known && !c.in.held() {
		c.fail("register %s, written: %v, which was not seen", c.p.f.regs[r].name, written)
	}
	return c.row[r]
}

// pair is the registers of a result d|p; p is none if the operand names d alone.
func (c *compiler) pair(i int) (d, p int) {
	if i < len(c.in.args) && c.in.args[i].kind == pairOperand {
		list := c.in.args[i].list
		return c.target(list[0]), c.target(list[1])
	}
	return c.dst(i), none
}

// predicate is the register of operand i, and whether its contrary counts.
func (c *compiler) predicate(i int) (r int, negate bool) {
	if i < 0 || i >= len(c.in.args) || c.in.args[i].kind != regOperand {
		c.fail("operand %d is not a predicate", i)
		return 0, false
	}
	return c.touch(c.in.args[i].reg, false), c.in.args[i].negate
}

// vector is the n elements of operand i, which may stand without braces if it has one; nil after a failure.
func (c *compiler) vector(i, n int) []operand {
	switch {
	case i >= len(c.in.args):
		c.fail("operand %d is missing", i)
	case c.in.args[i].kind == vecOperand && len(c.in.args[i].list) == n:
		return c.in.args[i].list
	case c.in.args[i].kind != vecOperand && n == 1:
		return c.in.args[i : i+1]
	default:
		c.fail("operand %d is not a vector of %d", i, n)
	}
	return nil
}

// targets are the registers that operand i names, a vector of n.
func (c *compiler) targets(i, n int) []int {
	rs := make([]int, n)
	for j, o := range c.vector(i, n) {
		rs[j] = c.target(o)
	}
	return rs
}

// srcs are the registers that hold operand i, a vector of n numbers of type t.
func (c *compiler) srcs(i, n int, t typ) []int {
	rs := make([]int, n)
	for j, o := range c.vector(i, n) {
		rs[j] = c.value(o, t)
	}
	return rs
}

// addr is an address operand: base register and offset.
func (c *compiler) addr(i int) (int, int64) {
	if i >= len(c.in.args) || c.in.args[i].kind != addrOperand || len(c.in.args[i].list) != 1 {
		c.fail("operand %d is not an address", i)
		return 0, 0
	}
	o := c.in.args[i]
	return c.value(o.list[0], u64Type), o.off
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
