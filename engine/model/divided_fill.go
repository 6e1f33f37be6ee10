package model

// filler puts parameters in place, in Named's order, into full(). Of a divided model they pass through units' gradients: at is
// called before each, end after all.
type filler struct {
	m   *Model
	of  map[string]int // units by name
	u   int            // the one at work, beside the rest; -1: none
	err error
}

// filler's keeps: a value head is given no numbers, and has those that it had.
func (m *Model) filler(keeps bool) *filler {
	f := &filler{m: m, u: -1}
	m.filled++
	if m.div != nil {
		f.of = m.unitsByName()
		if keeps && m.Config.ValueHead {
			f.err = m.div.exact(m.div.rest())
		}
	}
	return f
}

// unitsByName is the unit of each parameter of a divided model.
func (m *Model) unitsByName() map[string]int {
	of := map[string]int{}
	for name, t := range m.div.w.Named() {
		of[name] = m.unitOf(name, t)
	}
	return of
}

func (f *filler) keep(u int) {
	if f.err == nil {
		f.err = f.m.div.keep(u)
	}
}

func (f *filler) at(name string) {
	if f.of == nil {
		return
	}
	u := f.of[name]
	if u == f.u || u == f.m.div.rest() {
		return
	}
	if f.u >= 0 {
		f.keep(f.u)
	}
	f.u = u
}

// end makes what was filled the model's.
func (f *filler) end() error {
	if f.of == nil {
		return f.m.round()
	}
	if f.u >= 0 {
		f.keep(f.u)
	}
	f.keep(f.m.div.rest())
	return f.err
}

// reader makes full() hold parameters: those of a divided model are gathered unit by unit, after announce has told other ranks which, if
// they do not read the same in the same order.
type reader struct {
	m        *Model
	of       map[string]int
	announce func(unit int) error
	u        int
	rest     bool // is there
	err      error
}

func (m *Model) reader(announce func(unit int) error) *reader {
	r := &reader{m: m, announce: announce, u: -1}
	if m.div != nil {
		r.of = m.unitsByName()
	}
	return r
}

func (r *reader) at(name string) {
	if r.of == nil || r.err != nil {
		return
	}
	u := r.of[name]
	switch {
	case u == r.u || u == r.m.div.rest() && r.rest:
		return
	case u == r.m.div.rest():
		r.rest = true
	default:
		r.u = u
	}
	if r.announce != nil {
		r.err = r.announce(u)
	}
	if r.err == nil {
		r.err = r.m.div.exact(u)
	}
}

// said is rank 0's announcement of a unit, or of the end, -1.
func (m *Model) said(u int) error {
	if m.div == nil {
		return nil
	}
	_, err := m.div.with.Say(u)
	return err
}

// serve gathers the units that rank 0 announces.
func (m *Model) serve() error {
	for {
		u, err := m.div.with.Say(-1)
		if err != nil || u < 0 {
			return err
		}
		if err := m.div.exact(u); err != nil {
			return err
		}
	}
}
