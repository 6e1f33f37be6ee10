package kernels

// A key's numbers belong to as many lines of its panel, [D][16], one each. So the keys of a panel that is being filled stand in rows,
// [16][D], in the same place: a decode step writes a line or two of a head, and reads those of the keys that are there. When its last key
// comes, the panel is turned. Whoever reads a panel in rows turns a copy: the bits of a score are the same.

// pageState is what the device remembers of a page.
type pageState struct {
	open  int8   // 1 + the panel whose keys stand in rows; 0: none
	stamp uint32 // of the last AppendKV that wrote to it
}

// appendPiece is tokens of a call that follow one another in a panel.
type appendPiece struct {
	token, n, page, offset int32
	rows, turn             bool // the panel stands in rows; these fill it
}

const pageBits = 6

var _ = [1]struct{}{}[PageTokens-1<<pageBits] // compiles only if PageTokens is 1<<pageBits

func (d *cpu) AppendKV(kv KV, k, v, slots Tensor) {
	const op = "AppendKV"
	d.begin(op)
	T := checkAppendKV(kv, k, v, slots)
	d.reads(op, k)
	d.reads(op, v)
	at := slots.ints()
	for _, slot := range at {
		if slot >= 0 {
			d.checkPage(op, kv, slot>>pageBits)
		}
	}
	j := &d.att
	j.h, j.k, j.v, j.kv = kv.Heads, k, v, kv
	if again := j.cut(at); again {
		for _, p := range j.pieces {
			j.append(d.v, &d.workers[0], p)
		}
		return
	}
	d.each(len(j.pieces), 4, T*kv.Heads.KV*kv.Heads.Dim, func(d *cpu, w *worker, from, to int) {
		pieces := d.att.pieces[from:to]
		for i, p := range pieces {
			if i+1 < len(pieces) {
				d.att.fetch(d.v, pieces[i+1])
			}
			d.att.append(d.v, w, p)
		}
	})
}

// cut makes the job's pieces of the slots, and marks the panels that they open and fill. It reports whether one panel has several, which
// must then be written in their order.
func (j *attentionJob) cut(slots []int32) (again bool) {
	j.pieces = j.pieces[:0]
	pages, stamp := j.kv.mem.pages, j.kv.mem.stamp.Add(1)
	for t := 0; t < len(slots); {
		slot := slots[t]
		if slot < 0 {
			t++
			continue
		}
		p := appendPiece{token: int32(t), n: 1, page: slot >> pageBits, offset: slot % PageTokens}
		for t++; t < len(slots) && slots[t] == slot+p.n && slots[t]%tileCols != 0; t++ {
			p.n++
		}
		state, panel := &pages[p.page], int8(p.offset/tileCols)
		if state.stamp == stamp {
			before := j.pieces[len(j.pieces)-1]
			again = again || before.page != p.page || before.offset/tileCols+1 != int32(panel)
		}
		state.stamp = stamp
		if p.offset%tileCols == 0 {
			state.open = panel + 1
		}
		if p.rows = state.open == panel+1; p.rows && (p.offset+p.n)%tileCols == 0 {
			p.turn, state.open = true, 0
		}
		j.pieces = append(j.pieces, p)
	}
	return again
}

// fetch asks for the lines of a piece's first token, which a decode step has not met since the one before.
func (j *attentionJob) fetch(v *simd, p appendPiece) {
	m, D, KV := j.kv.mem, j.h.Dim, j.h.KV
	if m.b16 != nil || !p.rows {
		return
	}
	size := PageTokens * D
	at := int(p.page)*2*KV*size + int(p.offset)*D
	v.fetch(&m.f32[at], 4*D, 4*size, 2*KV)
}

// append stores a piece in its page.
func (j *attentionJob) append(v *simd, w *worker, p appendPiece) {
	D, KV, m := j.h.Dim, j.h.KV, j.kv.mem
	first := p.offset / tileCols * tileCols * int32(D) // of the panel, in a tile
	size := PageTokens * D
	page := int(p.page) * 2 * KV * size
	for i := range p.n {
		t, offset := int(p.token+i), int(p.offset+i)
		if m.b16 != nil {
			appendHeads(m.b16[page:], p.rows, offset, w.bf16Row(v, 0, j.k, t), w.bf16Row(v, 1, j.v, t), D, KV)
		} else {
			appendHeads(m.f32[page:], p.rows, offset, w.loadRow(v, 0, j.k, t), w.loadRow(v, 1, j.v, t), D, KV)
		}
	}
	if !p.turn {
		return
	}
	rows := w.scratch(tileCols * D)
	for g := range KV {
		at := page + g*size + int(first)
		if m.b16 != nil {
			rows := halves(rows, tileCols*D)
			copy(rows, m.b16[at:])
			for i := range tileCols {
				for k, x := range rows[i*D : (i+1)*D] {
					m.b16[at+k*tileCols+i] = x
				}
			}
			continue
		}
		copy(rows, m.f32[at:])
		packTransposed(v, m.f32[at:at+tileCols*D], rows, 0, tileCols, D, D)
	}
}

// appendHeads stores a token's heads in a page.
func appendHeads[N float32 | uint16](page []N, rows bool, offset int, key, val []N, D, KV int) {
	size := PageTokens * D
	for g := range KV {
		key := key[g*D : (g+1)*D]
		if tile := page[g*size:][:size]; rows {
			copy(tile[offset*D:], key)
		} else {
			panel := tile[offset/tileCols*tileCols*D+offset%tileCols:]
			for i, x := range key {
				panel[i*tileCols] = x
			}
		}
		copy(page[(KV+g)*size+offset*D:][:D], val[g*D:(g+1)*D])
	}
}
