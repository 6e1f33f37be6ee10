package emu

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// module is a PTX file, parsed.
type module struct {
	version, target string
	files           map[int]string
	vars            map[string]*variable // of the module's scope
	entries         map[string]*function
}

// A variable of shared, global, constant, local or parameter space.
type variable struct {
	name        string
	space       string // "shared", "global", "const", "local", "param"
	size, align int
	extern      bool // dynamic shared memory: size is known at launch
	init        []byte
	addr        uint64 // once placed
}

// function is an entry as written; compile makes it runnable.
type function struct {
	name      string
	params    []*variable
	paramSize int
	shared    []*variable // static, declared inside
	local     []*variable
	localSize int
	threads   int // .maxntid, 1024 if it says nothing
	code      []instr
	regs      []regInfo // of every scope
	text      []token   // the body, until parsed
}

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
	wide   bool   // imm came from 0d…, or is an integer
	float  int    // width of a float literal: 32, 64, else 0
	v      *variable
	name   string
	list   []operand
	off    int64
}

// place is a line of CUDA source: the innermost in a .cu, with the line of the header that was inlined there.
type place struct {
	file   string
	line   int
	within string // "common.cuh:47" when the instruction came from a header
}

func (p *place) String() string {
	if p == nil {
		return "?"
	}
	s := p.file + ":" + strconv.Itoa(p.line)
	if p.within != "" {
		s += " (" + p.within + ")"
	}
	return s
}

type token struct {
	text string
	line int
	str  bool // was a string literal
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c == '%' || c == '.' || c == '@' || c == '!'
}

func tokenise(src string) []token {
	ts := make([]token, 0, len(src)/5)
	line := 1
	for i := 0; i < len(src); {
		c := src[i]
		switch {
		case c == '\n':
			line++
			i++
		case c == ' ' || c == '\t' || c == '\r':
			i++
		case c == '/' && i+1 < len(src) && src[i+1] == '/':
			for i < len(src) && src[i] != '\n' {
				i++
			}
		case c == '/' && i+1 < len(src) && src[i+1] == '*':
			for i < len(src) && !strings.HasPrefix(src[i:], "*/") {
				if src[i] == '\n' {
					line++
				}
				i++
			}
			i += 2
		case c == '"':
			j := i + 1
			for j < len(src) && src[j] != '"' {
				j++
			}
			ts = append(ts, token{src[i+1 : j], line, true})
			i = j + 1
		case wordByte(c):
			j := i
			for j < len(src) && (wordByte(src[j]) || src[j] == ':' && j+2 < len(src) && src[j+1] == ':' && wordByte(src[j+2])) {
				if src[j] == ':' {
					j++
				}
				j++
			}
			ts = append(ts, token{src[i:j], line, false})
			i = j
		default:
			ts = append(ts, token{src[i : i+1], line, false})
			i++
		}
	}
	return ts
}

type parser struct {
	ts   []token
	i    int
	m    *module
	f    *function
	err  error
	regs []map[string]int // scopes, innermost last
	labs []map[string]int
	vars []map[string]*variable
	at   *place
	locs map[[3]int][4]int // where a line of a .loc was inlined: file, line, column; the fourth is 1
	memo map[[3]int]*place
	fix  []fixup
}

type fixup struct {
	in     int
	name   string
	scopes []map[string]int
}

// parse reads a module. Bodies of entries are parsed when they are first asked for.
func parse(text []byte) (*module, error) {
	p := &parser{ts: tokenise(string(text)), m: &module{files: map[int]string{}, vars: map[string]*variable{}, entries: map[string]*function{}}}
	// .file lines stand at the end, .loc lines need them: read them first.
	for i := 0; i+2 < len(p.ts); i++ {
		if p.ts[i].text == ".file" && !p.ts[i].str {
			n, err := strconv.Atoi(p.ts[i+1].text)
			if err != nil {
				return nil, fmt.Errorf("emu: PTX line %d: .file %s", p.ts[i].line, p.ts[i+1].text)
			}
			name := p.ts[i+2].text
			p.m.files[n] = name[strings.LastIndexByte(name, '/')+1:]
		}
	}
	for p.err == nil && p.i < len(p.ts) {
		p.toplevel()
	}
	if p.err != nil {
		return nil, p.err
	}
	if p.m.version == "" || p.m.target == "" {
		return nil, fmt.Errorf("emu: not PTX: no .version or no .target")
	}
	return p.m, nil
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		line := 0
		if n := min(p.i, len(p.ts)) - 1; n >= 0 {
			line = p.ts[n].line
		}
		where := ""
		if p.f != nil {
			where = p.f.name + ": "
		}
		p.err = fmt.Errorf("emu: %sPTX line %d: %s", where, line, fmt.Sprintf(format, args...))
	}
}

func (p *parser) peek() string {
	if p.i < len(p.ts) {
		return p.ts[p.i].text
	}
	return ""
}

func (p *parser) next() string {
	if p.i >= len(p.ts) {
		p.fail("the text ends here")
		return ""
	}
	p.i++
	return p.ts[p.i-1].text
}

func (p *parser) expect(s string) {
	if got := p.next(); got != s {
		p.fail("%q, want %q", got, s)
	}
}

func (p *parser) accept(s string) bool {
	if p.peek() == s {
		p.i++
		return true
	}
	return false
}

// restOfLine skips to the end of the line on which the last token stood.
func (p *parser) restOfLine() {
	line := p.ts[p.i-1].line
	for p.i < len(p.ts) && p.ts[p.i].line == line {
		p.i++
	}
}

func (p *parser) integer() int {
	s := p.next()
	n, err := strconv.ParseInt(strings.TrimRight(s, "U"), 0, 64)
	if err != nil {
		p.fail("%q is not a number", s)
	}
	return int(n)
}

func (p *parser) toplevel() {
	switch word := p.next(); word {
	case ".version":
		p.m.version = p.next()
		p.restOfLine()
	case ".target":
		p.m.target = p.next()
		p.restOfLine()
	case ".address_size":
		if n := p.integer(); n != 64 {
			p.fail(".address_size %d, want 64", n)
		}
	case ".file":
		p.restOfLine()
	case ".section":
		p.next()
		p.skipBraces()
	case ".visible", ".weak", ".extern":
		extern := word == ".extern"
		if strings.HasPrefix(p.peek(), ".") && p.peek() != ".entry" && p.peek() != ".func" {
			v := p.variable(p.next(), extern)
			p.m.vars[v.name] = v
		}
	case ".entry":
		p.entry()
	case ".func":
		// A declaration of a function of the runtime (vprintf); a call of it is an error where it stands.
		for p.err == nil && p.peek() != ";" && p.peek() != "{" {
			p.next()
		}
		if p.peek() == "{" {
			p.fail(".func with a body: calls are not emulated, inline the function")
		}
		p.expect(";")
	case ".global", ".const", ".shared":
		v := p.variable(word, false)
		p.m.vars[v.name] = v
	case ";":
	default:
		p.fail("unknown %q", word)
	}
}

func (p *parser) skipBraces() {
	p.expect("{")
	for depth := 1; depth > 0 && p.err == nil; {
		switch p.next() {
		case "{":
			depth++
		case "}":
			depth--
		}
	}
}

// variable parses a declaration after its space, up to the semicolon.
func (p *parser) variable(space string, extern bool) *variable {
	v := &variable{space: space[1:], align: 1, extern: extern}
	elem := typ{}
	for p.err == nil {
		word := p.next()
		if word == ".align" {
			v.align = p.integer()
			continue
		}
		if t, ok := typeOf(strings.TrimPrefix(word, ".")); ok && word[0] == '.' {
			elem = t
			v.align = max(v.align, t.size)
			continue
		}
		if word[0] == '.' {
			p.fail("%s in the declaration of a variable", word)
		}
		v.name = word
		break
	}
	n := 1
	for p.accept("[") {
		if p.accept("]") {
			n = 0
			continue
		}
		n *= p.integer()
		p.expect("]")
	}
	v.size = n * elem.size
	if n == 0 {
		v.extern = true
	}
	if p.accept("=") {
		v.init = make([]byte, 0, v.size)
		put := func() {
			o := p.literal(p.next())
			for i := range elem.size {
				v.init = append(v.init, byte(o>>(8*i)))
			}
		}
		if p.accept("{") {
			for !p.accept("}") && p.err == nil {
				put()
				p.accept(",")
			}
		} else {
			put()
		}
		for len(v.init) < v.size {
			v.init = append(v.init, 0)
		}
	}
	p.expect(";")
	return v
}

func (p *parser) entry() {
	f := &function{name: p.next(), threads: 1024}
	p.f = f
	p.expect("(")
	for p.err == nil && !p.accept(")") {
		p.expect(".param")
		v := &variable{space: "param"}
		elem := typ{}
		for p.err == nil {
			word := p.next()
			if word == ".align" {
				v.align = p.integer()
			} else if t, ok := typeOf(strings.TrimPrefix(word, ".")); ok && word[0] == '.' {
				elem = t
				v.align = max(v.align, t.size)
			} else if word == ".ptr" || word == ".global" || word == ".const" {
			} else {
				v.name = word
				break
			}
		}
		v.size = elem.size
		if p.accept("[") {
			v.size *= p.integer()
			p.expect("]")
		}
		f.paramSize = (f.paramSize + v.align - 1) / v.align * v.align
		v.addr = uint64(f.paramSize)
		f.paramSize += v.size
		f.params = append(f.params, v)
		p.accept(",")
	}
	for p.err == nil && p.peek() != "{" {
		switch word := p.next(); word {
		case ".maxntid", ".reqntid":
			n := p.integer()
			for p.accept(",") {
				n *= p.integer()
			}
			f.threads = n
		case ".minnctapersm", ".maxnreg":
			p.integer()
		default:
			p.fail("directive %s of an entry is not emulated", word)
		}
	}
	from := p.i
	p.skipBraces()
	if p.err != nil {
		return
	}
	f.text = p.ts[from:p.i]
	p.m.entries[f.name] = f
	p.f = nil
}

// body parses the instructions of an entry.
func (m *module) body(f *function) error {
	if f.code != nil {
		return nil
	}
	p := &parser{ts: f.text, m: m, f: f, locs: map[[3]int][4]int{}, memo: map[[3]int]*place{}}
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
	word := p.next()
	switch word {
	case "{":
		p.push()
		return
	case "}":
		p.pop()
		return
	case ".reg":
		p.registers()
		return
	case ".shared", ".local":
		v := p.variable(word, false)
		p.vars[len(p.vars)-1][v.name] = v
		if word == ".shared" {
			p.f.shared = append(p.f.shared, v)
		} else {
			p.f.localSize = (p.f.localSize + v.align - 1) / v.align * v.align
			v.addr = uint64(p.f.localSize)
			p.f.localSize += v.size
			p.f.local = append(p.f.local, v)
		}
		return
	case ".loc":
		p.loc()
		return
	case ".pragma":
		p.next()
		p.expect(";")
		return
	}
	if p.peek() == ":" {
		p.i++
		p.labs[len(p.labs)-1][word] = len(p.f.code)
		return
	}
	in := instr{guard: none, line: p.ts[p.i-1].line, at: p.at}
	if word[0] == '@' {
		name := word[1:]
		if name[0] == '!' {
			in.negate, name = true, name[1:]
		}
		in.guard = p.register(name)
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
			p.fix = append(p.fix, fixup{len(p.f.code), a.name, append([]map[string]int(nil), p.labs...)})
		}
	}
	p.f.code = append(p.f.code, in)
}

func (p *parser) loc() {
	var l [3]int
	for i := range l {
		l[i] = p.integer()
	}
	line := p.ts[p.i-1].line
	var up [4]int
	for p.i < len(p.ts) && p.ts[p.i].line == line {
		if p.next() == "inlined_at" {
			up = [4]int{p.integer(), p.integer(), p.integer(), 1}
		}
	}
	if old, ok := p.locs[l]; !ok || old != up {
		p.locs[l] = up
		clear(p.memo)
	}
	if pl := p.memo[l]; pl != nil {
		p.at = pl
		return
	}
	p.at = p.place(l)
	p.memo[l] = p.at
}

// place follows a line up to the .cu that holds it. Headers of the toolkit are passed over.
func (p *parser) place(l [3]int) *place {
	pl := &place{}
	for range 32 {
		name := p.m.files[l[0]]
		if strings.HasSuffix(name, ".cu") {
			pl.file, pl.line = name, l[1]
			return pl
		}
		if strings.HasSuffix(name, ".cuh") && pl.within == "" {
			pl.within = name + ":" + strconv.Itoa(l[1])
		}
		up := p.locs[l]
		if up[3] == 0 {
			pl.file, pl.line, pl.within = name, l[1], ""
			return pl
		}
		l = [3]int{up[0], up[1], up[2]}
	}
	return pl
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

// literal is the bits of a number as written.
func (p *parser) literal(s string) uint64 {
	neg := false
	if s == "-" {
		neg, s = true, p.next()
	}
	switch {
	case strings.HasPrefix(s, "0f") || strings.HasPrefix(s, "0F"):
		v, err := strconv.ParseUint(s[2:], 16, 32)
		if err != nil {
			p.fail("%q is not a float", s)
		}
		if neg {
			v ^= 1 << 31
		}
		return v
	case strings.HasPrefix(s, "0d") || strings.HasPrefix(s, "0D"):
		v, err := strconv.ParseUint(s[2:], 16, 64)
		if err != nil {
			p.fail("%q is not a float", s)
		}
		if neg {
			v ^= 1 << 63
		}
		return v
	case s == "WARP_SZ":
		return 32
	}
	v, err := strconv.ParseUint(strings.TrimRight(s, "U"), 0, 64)
	if err != nil {
		if d, derr := strconv.ParseFloat(s, 64); derr == nil {
			return math.Float64bits(d)
		}
		p.fail("%q is not a number", s)
	}
	if neg {
		v = -v
	}
	return v
}

func (p *parser) operand() operand {
	s := p.next()
	if s == "" {
		return operand{}
	}
	switch {
	case s == "{":
		o := operand{kind: vecOperand}
		for p.err == nil && !p.accept("}") {
			o.list = append(o.list, p.operand())
			p.accept(",")
		}
		return o
	case s == "[":
		o := operand{kind: addrOperand}
		base := p.operand()
		o.list = []operand{base}
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
	case s == "-":
		if n, ok := p.lookup(p.peek()); ok {
			p.next()
			return operand{kind: regOperand, reg: n, negate: true}
		}
		v := p.literal("-")
		return operand{kind: immOperand, imm: v}
	case s == "_":
		return operand{kind: sinkOperand}
	case s[0] == '!':
		return operand{kind: regOperand, reg: p.register(s[1:]), negate: true}
	case s[0] >= '0' && s[0] <= '9' || s == "WARP_SZ":
		o := operand{kind: immOperand, imm: p.literal(s)}
		if strings.HasPrefix(s, "0f") || strings.HasPrefix(s, "0F") {
			o.float = 32
		} else if strings.HasPrefix(s, "0d") || strings.HasPrefix(s, "0D") {
			o.float = 64
		}
		return o
	}
	if n, ok := p.lookup(s); ok {
		o := operand{kind: regOperand, reg: n}
		if p.accept("|") {
			second := p.operand()
			return operand{kind: pairOperand, list: []operand{o, second}}
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

// typ is a fundamental type.
type typ struct {
	name   string
	size   int // bytes; a predicate has 1
	signed bool
	float  bool
}

func (t typ) bits() uint { return uint(t.size) * 8 }

func (t typ) mask() uint64 {
	if t.size == 8 {
		return math.MaxUint64
	}
	return 1<<t.bits() - 1
}

func typeOf(s string) (typ, bool) {
	switch s {
	case "pred":
		return typ{name: s, size: 1}, true
	case "b8", "u8":
		return typ{name: s, size: 1}, true
	case "s8":
		return typ{name: s, size: 1, signed: true}, true
	case "b16", "u16":
		return typ{name: s, size: 2}, true
	case "s16":
		return typ{name: s, size: 2, signed: true}, true
	case "f16", "bf16":
		return typ{name: s, size: 2, float: true}, true
	case "b32", "u32":
		return typ{name: s, size: 4}, true
	case "s32":
		return typ{name: s, size: 4, signed: true}, true
	case "f32", "tf32":
		return typ{name: s, size: 4, float: true}, true
	case "f16x2", "bf16x2":
		return typ{name: s, size: 4}, true
	case "b64", "u64":
		return typ{name: s, size: 8}, true
	case "s64":
		return typ{name: s, size: 8, signed: true}, true
	case "f64":
		return typ{name: s, size: 8, float: true}, true
	}
	return typ{}, false
}

// specials are the special registers, in the order of a warp's prefilled registers.
var specials = map[string]int{
	"%tid.x": 0, "%tid.y": 1, "%tid.z": 2,
	"%ntid.x": 3, "%ntid.y": 4, "%ntid.z": 5,
	"%ctaid.x": 6, "%ctaid.y": 7, "%ctaid.z": 8,
	"%nctaid.x": 9, "%nctaid.y": 10, "%nctaid.z": 11,
	"%laneid": 12, "%warpid": 13, "%nwarpid": 14,
	"%lanemask_eq": 15, "%lanemask_lt": 16, "%lanemask_le": 17, "%lanemask_gt": 18, "%lanemask_ge": 19,
	"%clock": 20, "%clock64": 21, "%smid": 22, "%nsmid": 23, "%dynamic_smem_size": 24,
}

const specialCount = 25
