package kernels

// zeroBlock is how many numbers a thread clears, or converts, at least.
const zeroBlock = 1 << 13

func (d *cpu) Upload(dst Tensor, src any) {
	const op = "Upload"
	d.door(op, dst)
	src = hostNumbers(op, "source", dst, src)
	dst.mem.version++
	dst.runs(func(at, from, n int) { d.put(dst, at, src, from, n) })
}

func (d *cpu) Download(dst any, src Tensor) {
	const op = "Download"
	d.door(op, src)
	dst = hostNumbers(op, "destination", src, dst)
	src.runs(func(at, to, n int) { d.get(dst, to, src, at, n) })
}

// put writes n numbers of src, from the given one on, to t's memory, at on.
func (d *cpu) put(t Tensor, at int, src any, from, n int) {
	if t.dtype == I32 {
		convert(t.mem.i32, at, src, from, n)
		return
	}
	t.mem.pieces(at, n, func(at, first, n int) {
		if !d.inDo.Load() || n <= 1<<16 {
			d.convert(t.mem, at, src, from+first, n)
			return
		}
		d.order = orderJob{m: t.mem, row: at, rows: n, src: src, from: from + first}
		d.each((n+zeroBlock-1)/zeroBlock, 1, n/8, func(d *cpu, _ *worker, from, to int) {
			j, first := &d.order, from*zeroBlock
			d.convert(j.m, j.row+first, j.src, j.from+first, min(to*zeroBlock, j.rows)-first)
		})
	}, func(p *panelled, row, rows, first int) {
		d.orderRows(orderJob{m: t.mem, p: p, row: row, rows: rows, src: src, from: from + first})
	})
}

// get is put backwards.
func (d *cpu) get(dst any, to int, t Tensor, at, n int) {
	if t.dtype == I32 {
		convert(dst, to, t.mem.i32, at, n)
		return
	}
	t.mem.pieces(at, n, func(at, first, n int) {
		d.convertOut(dst, to+first, t.mem, at, n)
	}, func(p *panelled, row, rows, first int) {
		line := newPanelRow(t.mem, p)
		for r := range rows {
			line.read(row + r)
			d.convertOut(dst, to+first+r*p.cols, line.row.mem, 0, p.cols)
		}
	})
}

// convert writes n numbers of src, from the given one on, to a memory of floats. float32 is rounded to bf16 as roundBF16 does.
func (d *cpu) convert(m *memory, at int, src any, from, n int) {
	switch src := src.(type) {
	case []float32:
		if m.b16 != nil {
			d.v.narrow(m.b16[at:at+n], src[from:from+n])
		} else {
			copy(m.f32[at:at+n], src[from:])
		}
	case []uint16:
		if m.b16 != nil {
			copy(m.b16[at:at+n], src[from:])
		} else {
			d.v.widen(m.f32[at:at+n], src[from:from+n])
		}
	}
}

func (d *cpu) convertOut(dst any, to int, m *memory, at, n int) {
	switch dst := dst.(type) {
	case []float32:
		if m.b16 != nil {
			d.v.widen(dst[to:to+n], m.b16[at:at+n])
		} else {
			copy(dst[to:to+n], m.f32[at:])
		}
	case []uint16:
		if m.b16 != nil {
			copy(dst[to:to+n], m.b16[at:])
		} else {
			d.v.narrow(dst[to:to+n], m.f32[at:at+n])
		}
	}
}

func (d *cpu) Copy(dst, src Tensor) {
	const op = "Copy"
	d.door(op, dst)
	d.door(op, src)
	if dst.dims != src.dims || dst.rank != src.rank || (dst.dtype == I32) != (src.dtype == I32) {
		wrong(op, "dst", dst, "src", src, "shapes differ, or only one holds integers")
	}
	dst.mem.version++
	if n := dst.Len(); dst.Contiguous() && src.Contiguous() && dst.mem.ordered == nil {
		if src.mem.ordered != nil || dst.dtype == I32 || !d.inDo.Load() || n <= 1<<15 {
			d.copyRun(dst, dst.off, src, src.off, n)
			return
		}
		d.move = moveJob{dst, src}
		d.each((n+zeroBlock-1)/zeroBlock, 1, n/8, func(d *cpu, _ *worker, from, to int) {
			dst, src := d.move.dst, d.move.src
			first := from * zeroBlock
			d.copyRun(dst, dst.off+first, src, src.off+first, min(to*zeroBlock, dst.Len())-first)
		})
		return
	}
	width := dst.dims[1] * dst.dims[2]
	for r := range dst.dims[0] {
		d.copyRun(dst, dst.off+r*dst.ld, src, src.off+r*src.ld, width)
	}
}

// copyRun copies n numbers that follow one another.
func (d *cpu) copyRun(dst Tensor, at int, src Tensor, from, n int) {
	switch {
	case dst.dtype == I32:
		copy(dst.mem.i32[at:at+n], src.mem.i32[from:])
	case src.mem.ordered != nil && dst.mem.ordered != nil:
		row := make([]float32, n)
		d.get(row, 0, src, from, n)
		d.put(dst, at, row, 0, n)
	case src.mem.ordered != nil && dst.dtype == BF16:
		d.get(dst.mem.b16, at, src, from, n)
	case src.mem.ordered != nil:
		d.get(dst.mem.f32, at, src, from, n)
	case dst.mem.ordered != nil && src.dtype == BF16:
		d.put(dst, at, src.mem.b16, from, n)
	case dst.mem.ordered != nil:
		d.put(dst, at, src.mem.f32, from, n)
	case dst.dtype == F32 && src.dtype == F32:
		copy(dst.mem.f32[at:at+n], src.mem.f32[from:])
	case dst.dtype == F32:
		d.v.widen(dst.mem.f32[at:at+n], src.mem.b16[from:from+n])
	case src.dtype == F32:
		d.v.narrow(dst.mem.b16[at:at+n], src.mem.f32[from:from+n])
	default:
		copy(dst.mem.b16[at:at+n], src.mem.b16[from:])
	}
}

func (d *cpu) Zero(t Tensor) {
	d.door("Zero", t)
	t.mem.version++
	if n := t.Len(); t.dtype == F32 && t.mem.ordered == nil && d.inDo.Load() && n > 1<<15 && t.Contiguous() {
		d.zero = t.vec()
		d.each((n+zeroBlock-1)/zeroBlock, 1, n/8, func(d *cpu, _ *worker, from, to int) {
			clear(d.zero[from*zeroBlock : min(to*zeroBlock, len(d.zero))])
		})
		return
	}
	width := t.dims[1] * t.dims[2]
	for r := range t.dims[0] {
		at := t.off + r*t.ld
		switch {
		case t.mem.ordered != nil:
			d.put(t, at, make([]float32, width), 0, width)
		case t.dtype == I32:
			clear(t.mem.i32[at : at+width])
		case t.dtype == F32:
			clear(t.mem.f32[at : at+width])
		default:
			clear(t.mem.b16[at : at+width])
		}
	}
}
