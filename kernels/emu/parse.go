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
	threads   int       // .maxntid, 1024 if it says nothing
	cluster   [3]uint32 // .reqnctapercluster, zero if it says nothing
	code      []instr
	regs      []regInfo // of every scope
	text      token     // the body, with its braces, until parsed
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

// parse reads a module. Bodies of entries are parsed when they are first asked for.
func parse(text []byte) (*module, error) {
	m := &module{files: map[int]string{}, vars: map[string]*variable{}, entries: map[string]*function{}}
	p := &parser{ts: tokenise(string(text), 1, true), m: m}
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
	elem := p.declared(v)
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
		p.initial(v, elem)
	}
	p.expect(";")
	return v
}

// declared parses alignment, type and name of a variable. What says where a parameter points is passed over.
func (p *parser) declared(v *variable) (elem typ) {
	for p.err == nil {
		word := p.next()
		t, ok := typeOf(strings.TrimPrefix(word, "."))
		switch {
		case word == ".align":
			v.align = p.integer()
		case ok && word[0] == '.':
			elem = t
			v.align = max(v.align, t.size)
		case v.space == "param" && (word == ".ptr" || word == ".global" || word == ".const"):
		case strings.HasPrefix(word, "."):
			p.fail("%s in the declaration of a variable", word)
		default:
			v.name = word
			return elem
		}
	}
	return elem
}

// initial parses the values that a variable begins with; the rest of it is zero.
func (p *parser) initial(v *variable, elem typ) {
	number := func() {
		n := p.literal(p.next())
		for i := range elem.size {
			v.init = append(v.init, byte(n>>(8*i)))
		}
	}
	if p.accept("{") {
		for !p.accept("}") && p.err == nil {
			number()
			p.accept(",")
		}
	} else {
		number()
	}
	for len(v.init) < v.size {
		v.init = append(v.init, 0)
	}
}

func (p *parser) entry() {
	f := &function{name: p.next(), threads: 1024}
	p.f = f
	p.expect("(")
	for p.err == nil && !p.accept(")") {
		p.param()
		p.accept(",")
	}
	for p.err == nil && !strings.HasPrefix(p.peek(), "{") {
		switch word := p.next(); word {
		case ".maxntid", ".reqntid":
			n := p.integer()
			for p.accept(",") {
				n *= p.integer()
			}
			f.threads = n
		case ".minnctapersm", ".maxnreg":
			p.integer()
		case ".explicitcluster":
		case ".reqnctapercluster":
			f.cluster = [3]uint32{uint32(p.integer()), 1, 1}
			for i := 1; i < 3 && p.accept(","); i++ {
				f.cluster[i] = uint32(p.integer())
			}
		default:
			p.fail("directive %s of an entry is not emulated", word)
		}
	}
	if body := p.next(); !strings.HasSuffix(body, "}") {
		p.fail("the text of entry %s ends here", f.name)
	}
	if p.err != nil {
		return
	}
	f.text = p.ts[p.i-1]
	p.m.entries[f.name] = f
	p.f = nil
}

// param parses a parameter of an entry and places it behind the last one.
func (p *parser) param() {
	p.expect(".param")
	v := &variable{space: "param"}
	v.size = p.declared(v).size
	if p.accept("[") {
		v.size *= p.integer()
		p.expect("]")
	}
	f := p.f
	f.paramSize = roundUp(f.paramSize, v.align)
	v.addr = uint64(f.paramSize)
	f.paramSize += v.size
	f.params = append(f.params, v)
}

// roundUp is the next multiple of align, from n on.
func roundUp(n, align int) int { return (n + align - 1) / align * align }

// literal is the bits of a number as written.
func (p *parser) literal(s string) uint64 {
	neg := false
	if s == "-" {
		neg, s = true, p.next()
	}
	if s == "WARP_SZ" {
		return 32
	}
	if width := floatWidth(s); width > 0 {
		v, err := strconv.ParseUint(s[2:], 16, width)
		if err != nil {
			p.fail("%q is not a float", s)
		}
		if neg {
			v ^= 1 << (width - 1)
		}
		return v
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

// floatWidth is the bits of a float written as 0f… or 0d…, else 0.
func floatWidth(s string) int {
	switch {
	case strings.HasPrefix(s, "0f") || strings.HasPrefix(s, "0F"):
		return 32
	case strings.HasPrefix(s, "0d") || strings.HasPrefix(s, "0D"):
		return 64
	}
	return 0
}
