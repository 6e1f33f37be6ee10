package emu

import (
	"strconv"
	"strings"
)

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
