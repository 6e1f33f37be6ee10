package emu

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

type regInfo struct {
	name string
	typ  typ
}

// instr is one instruction. Its parts are the words between dots: "ld", "global", "u32".
type instr struct {
	op     string
	parts  []string
	guard  int // register of the predicate, or none
	negate bool
	args   []operand
	line   int // of the PTX file
	at     *place
	target int // index of a branch's label
}

const none = -1

type operandKind uint8

const (
	regOperand operandKind = iota
	immOperand
	varOperand    // the address of a variable
	vecOperand    // {a, b, …}
	addrOperand   // [base + off]
	labelOperand  // before labels are resolved
	sinkOperand   // _
	pairOperand   // d|p
	specialOpernd // %tid.x and the like
)

type operand struct {
	kind   operandKind
	reg    int
	negate bool   // !%p, -%r
	imm    uint64 // bits; of a float literal, those of its own width
	float  int    // width of a float literal: 32, 64, else 0
	v      *variable
	name   string
	list   []operand
	off    int64
}

type fixup struct {
	in     int
	name   string
	scopes []map[string]int
}

// body parses the instructions of an entry.
func (m *module) body(f *function) error {
	if f.code != nil {
		return nil
	}
	p := &parser{ts: tokenise(f.text.text, f.text.line, false), m: m, f: f, locs: map[[3]int][4]int{}, memo: map[[3]int]*place{}}
	p.push()
	for _, v := range f.params {
		p.vars[0][v.name] = v
	}
	p.expect("{")
	for p.err == nil && p.i < len(p.ts) {
		p.statement()
	}
	for _, x := range p.fix {
		to := none
		for i := len(x.scopes) - 1; i >= 0 && to == none; i-- {
			if n, ok := x.scopes[i][x.name]; ok {
				to = n
			}
		}
		if to == none && p.err == nil {
			p.err = fmt.Errorf("emu: %s: PTX line %d: no label %s", f.name, f.code[x.in].line, x.name)
		}
		f.code[x.in].target = to
	}
	// Falling off the end is a return.
	f.code = append(f.code, instr{op: "ret", parts: []string{"ret"}, guard: none, at: p.at})
	if p.err != nil {
		f.code = nil
	}
	return p.err
}

func (p *parser) push() {
	p.regs = append(p.regs, map[string]int{})
	p.labs = append(p.labs, map[string]int{})
	p.vars = append(p.vars, map[string]*variable{})
}

func (p *parser) pop() {
	n := len(p.regs) - 1
	p.regs, p.labs, p.vars = p.regs[:n], p.labs[:n], p.vars[:n]
}

func (p *parser) statement() {
	switch word := p.next(); word {
	case "{":
		p.push()
	case "}":
		p.pop()
	case ".reg":
		p.registers()
	case ".shared", ".local":
		p.local(word)
	case ".loc":
		p.loc()
	case ".pragma":
		p.next()
		p.expect(";")
	default:
		if p.accept(":") {
			p.labs[len(p.labs)-1][word] = len(p.f.code)
			return
		}
		p.instruction(word)
	}
}

// local parses a variable declared inside of an entry.
func (p *parser) local(space string) {
	v := p.variable(space, false)
	p.vars[len(p.vars)-1][v.name] = v
	if space == ".shared" {
		p.f.shared = append(p.f.shared, v)
		return
	}
	p.f.localSize = roundUp(p.f.localSize, v.align)
	v.addr = uint64(p.f.localSize)
	p.f.localSize += v.size
	p.f.local = append(p.f.local, v)
}

// instruction parses what begins with word, a guard or an opcode.
func (p *parser) instruction(word string) {
	in := instr{guard: none, line: p.ts[p.i-1].line, at: p.at}
	if guard, ok := strings.CutPrefix(word, "@"); ok {
		guard, in.negate = strings.CutPrefix(guard, "!")
		in.guard = p.register(guard)
		word = p.next()
	}
	in.parts = strings.Split(word, ".")
	in.op = in.parts[0]
	for p.err == nil && !p.accept(";") {
		in.args = append(in.args, p.operand())
		if p.peek() != ";" {
			p.expect(",")
		}
	}
	for _, a := range in.args {
		if a.kind == labelOperand {
			if in.op != "bra" {
				p.fail("%s: %s is neither a register nor a variable", word, a.name)
			}
			p.fix = append(p.fix, fixup{len(p.f.code), a.name, slices.Clone(p.labs)})
		}
	}
	p.f.code = append(p.f.code, in)
}

func (p *parser) registers() {
	word := p.next()
	t, ok := typeOf(strings.TrimPrefix(word, "."))
	if !ok {
		p.fail(".reg of type %s", word)
	}
	scope := p.regs[len(p.regs)-1]
	for p.err == nil {
		name := p.next()
		if p.accept("<") {
			n := p.integer()
			p.expect(">")
			for i := range n {
				full := name + strconv.Itoa(i)
				scope[full] = len(p.f.regs)
				p.f.regs = append(p.f.regs, regInfo{full, t})
			}
		} else {
			scope[name] = len(p.f.regs)
			p.f.regs = append(p.f.regs, regInfo{name, t})
		}
		if p.accept(";") {
			return
		}
		p.expect(",")
	}
}

func (p *parser) lookup(name string) (int, bool) {
	for i := len(p.regs) - 1; i >= 0; i-- {
		if n, ok := p.regs[i][name]; ok {
			return n, true
		}
	}
	return 0, false
}

func (p *parser) register(name string) int {
	n, ok := p.lookup(name)
	if !ok {
		p.fail("register %s is not declared", name)
	}
	return n
}

func (p *parser) findVar(name string) *variable {
	for i := len(p.vars) - 1; i >= 0; i-- {
		if v := p.vars[i][name]; v != nil {
			return v
		}
	}
	return p.m.vars[name]
}

func (p *parser) operand() operand {
	s := p.next()
	switch {
	case s == "":
		return operand{}
	case s == "{":
		return p.vector()
	case s == "[":
		return p.address()
	case s == "-":
		if n, ok := p.lookup(p.peek()); ok {
			p.next()
			return operand{kind: regOperand, reg: n, negate: true}
		}
		return operand{kind: immOperand, imm: p.literal(s)}
	case s == "_":
		return operand{kind: sinkOperand}
	case s[0] == '!':
		return operand{kind: regOperand, reg: p.register(s[1:]), negate: true}
	case s[0] >= '0' && s[0] <= '9' || s == "WARP_SZ":
		return operand{kind: immOperand, imm: p.literal(s), float: floatWidth(s)}
	}
	return p.name(s)
}

// vector parses {a, b, …} after its brace.
func (p *parser) vector() operand {
	o := operand{kind: vecOperand}
	for p.err == nil && !p.accept("}") {
		o.list = append(o.list, p.operand())
		p.accept(",")
	}
	return o
}

// address parses [base + offset, …] after its bracket.
func (p *parser) address() operand {
	o := operand{kind: addrOperand, list: []operand{p.operand()}}
	for p.err == nil && !p.accept("]") {
		switch t := p.next(); t {
		case "+":
			o.off += int64(p.literal(p.next()))
		case "-":
			o.off -= int64(p.literal(p.next()))
		case ",":
			o.list = append(o.list, p.operand())
		default:
			p.fail("%q inside an address", t)
		}
	}
	return o
}

// name is a register, a pair of them, a special register, a variable, or else a label.
func (p *parser) name(s string) operand {
	if n, ok := p.lookup(s); ok {
		o := operand{kind: regOperand, reg: n}
		if p.accept("|") {
			return operand{kind: pairOperand, list: []operand{o, p.operand()}}
		}
		return o
	}
	if s[0] == '%' {
		if _, ok := specials[s]; ok {
			return operand{kind: specialOpernd, name: s}
		}
		p.fail("register %s is neither declared nor special", s)
		return operand{}
	}
	if v := p.findVar(s); v != nil {
		o := operand{kind: varOperand, v: v}
		if p.accept("+") {
			o.off = int64(p.literal(p.next()))
		}
		return o
	}
	return operand{kind: labelOperand, name: s}
}
