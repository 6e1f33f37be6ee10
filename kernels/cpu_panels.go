package kernels

import (
	"fmt"
	"slices"
	"unsafe"
)

// panelled is a matrix, or as many of its rows as fill whole panels, that lies in its memory as Linear reads it, and in no other form:
// see pack. It takes the memory that the rows would.
type panelled struct {
	off, rows, cols int // its first number; rows, a multiple of 16; numbers of a row
	inner           int // words of a row: its numbers, or pairs of bf16
	pack            pack
}

// Arrange lets the device keep w, the whole of a contiguous matrix, in the order in which Linear reads it. What w holds is lost. From
// then on it is Linear's and Embed's, and written and read by the doors, Copy and Zero only, rows at a time.
func (d *cpu) Arrange(w Tensor) {
	const op = "Arrange"
	d.door(op, w)
	if w.rank != 2 || w.dtype == I32 || !w.Contiguous() {
		needs(op, "w", w, "a contiguous matrix of floating point")
	}
	p := panelled{off: w.off, rows: w.dims[0] &^ (tileCols - 1), cols: w.dims[1], inner: w.dims[1]}
	if w.dtype == BF16 {
		if p.cols%2 != 0 || p.off%2 != 0 {
			return // its pairs are no words
		}
		p.inner /= 2
	}
	if p.rows == 0 || p.cols == 0 {
		return
	}
	m := w.mem
	if m.overlapsPanels(w) {
		panic(fmt.Sprintf("kernels: %s: %v, or a part of it, was arranged before", op, w))
	}
	m.version++
	first := m.rowWords(&p, 0)
	p.pack = pack{data: first[: p.rows*p.inner : p.rows*p.inner], inner: p.inner, paired: w.dtype == BF16}
	d.whole.packed.Add(int64(4 * len(p.pack.data)))
	m.ordered = append(m.ordered, p)
	slices.SortFunc(m.ordered, func(a, b panelled) int { return a.off - b.off })
}

// packBytes is how much of what Linear reads is in, or was made from, the memory.
func (m *memory) packBytes() (n int) {
	for i := range m.ordered {
		n += 4 * len(m.ordered[i].pack.data)
	}
	for _, p := range m.packs {
		n += 4 * len(p.data)
	}
	return n
}

// panelsAfter is the index of the first panelled matrix that ends after an element.
func (m *memory) panelsAfter(at int) int {
	lo, hi := 0, len(m.ordered)
	for lo < hi {
		mid := (lo + hi) / 2
		if p := &m.ordered[mid]; p.off+p.rows*p.cols <= at {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// overlapsPanels reports whether anything of t lies in panels.
func (m *memory) overlapsPanels(t Tensor) bool {
	if t.Len() == 0 {
		return false
	}
	i := m.panelsAfter(t.off)
	return i < len(m.ordered) && m.ordered[i].off < t.off+(t.dims[0]-1)*t.ld+t.dims[1]*t.dims[2]
}

// panels is the panelled matrix that an element belongs to, nil if there is none.
func (m *memory) panels(at int) *panelled {
	if i := m.panelsAfter(at); i < len(m.ordered) && m.ordered[i].off <= at {
		return &m.ordered[i]
	}
	return nil
}

// pieces divides elements [at, at+n) into those that follow one another in memory and rows of panels: first says which element of the n
// a piece begins with.
func (m *memory) pieces(at, n int, plain func(at, first, n int), rows func(p *panelled, row, rows, first int)) {
	end := at + n
	for first := 0; at < end; {
		i := m.panelsAfter(at)
		if i == len(m.ordered) || m.ordered[i].off > at {
			size := end - at
			if i < len(m.ordered) {
				size = min(size, m.ordered[i].off-at)
			}
			plain(at, first, size)
			at, first = at+size, first+size
			continue
		}
		p := &m.ordered[i]
		row := (at - p.off) / p.cols
		count := min((end-at)/p.cols, p.rows-row)
		if (at-p.off)%p.cols != 0 || count == 0 {
			panic(fmt.Sprintf("kernels: %d numbers from number %d on of a matrix that was arranged, which has rows of %d: whole rows are its views",
				end-at, at-p.off, p.cols))
		}
		rows(p, row, count, first)
		at, first = at+count*p.cols, first+count*p.cols
	}
}

// words is where row r's words begin in the memory; they are 16 apart.
func (m *memory) rowWords(p *panelled, r int) []float32 {
	at := p.off
	if m.b16 != nil {
		at /= 2
	}
	return m.words[at+r/tileCols*tileCols*p.inner+r%tileCols:]
}

// panelRow is one row of a panelled matrix, as a row.
type panelRow struct {
	m   *memory
	p   *panelled
	row Tensor // (1, cols) of the matrix's type
}

func newPanelRow(m *memory, p *panelled) *panelRow {
	words := floats(p.inner)
	row := &memory{f32: words, words: words}
	dtype := F32
	if m.b16 != nil {
		row.f32, row.b16, dtype = nil, halves(words, p.cols), BF16
	}
	return &panelRow{m, p, newTensor(row, dtype, []int{1, p.cols})}
}

// read makes row the given one of the matrix.
func (l *panelRow) read(r int) { gatherRow(l.row.mem.words, l.m.rowWords(l.p, r)) }

// gatherRow is a row of words that lie 16 apart.
func gatherRow(dst, panel []float32) {
	for k := range dst {
		dst[k] = panel[k*tileCols]
	}
}

// orderJob writes rows of numbers of the host to a panelled matrix, converted to its type; without one, rows numbers from number row on.
type orderJob struct {
	m         *memory
	p         *panelled
	row, rows int
	src       any
	from      int
}

// orderRows runs the job, on all threads where it is called inside Do.
func (d *cpu) orderRows(j orderJob) {
	first, last := j.row/tileCols, (j.row+j.rows-1)/tileCols+1
	if !d.inDo.Load() {
		w := &worker{}
		for panel := first; panel < last; panel++ {
			j.panel(d.v, w, panel)
		}
		return
	}
	d.order = j
	d.each(last-first, 1, j.rows*j.p.cols/2, func(d *cpu, w *worker, from, to int) {
		j := &d.order
		for i := from; i < to; i++ {
			j.panel(d.v, w, j.row/tileCols+i)
		}
	})
}

// panel writes those of the job's rows that are one panel's.
func (j *orderJob) panel(v *simd, w *worker, panel int) {
	a, b := max(j.row, panel*tileCols), min(j.row+j.rows, (panel+1)*tileCols)
	cols, inner := j.p.cols, j.p.inner
	at, n := j.from+(a-j.row)*cols, (b-a)*cols
	var words []float32
	switch src := j.src.(type) {
	case []float32:
		if words = src[at : at+n]; j.m.b16 != nil {
			words = w.lane(0, (b-a)*inner)
			v.narrow(halves(words, n), src[at:at+n])
		}
	case []uint16:
		switch {
		case j.m.b16 == nil:
			words = w.lane(0, n)
			v.widen(words, src[at:at+n])
		case uintptr(unsafe.Pointer(&src[at]))%4 == 0:
			words = unsafe.Slice((*float32)(unsafe.Pointer(&src[at])), (b-a)*inner)
		default:
			words = w.lane(0, (b-a)*inner)
			copy(halves(words, n), src[at:at+n])
		}
	}
	packTransposed(v, j.m.rowWords(j.p, a), words, 0, b-a, inner, inner)
}

// halves is the memory of words as n numbers of bf16.
func halves(words []float32, n int) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(words))), n)
}
