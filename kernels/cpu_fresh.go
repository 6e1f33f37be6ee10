package kernels

// cleared is an output that was Fresh, of zeros, for an operation that goes on to add to it. Threads divide its rows.
func (d *cpu) cleared(op string, t Tensor) Tensor {
	if !t.fresh {
		return t
	}
	t = t.Written()
	d.writes(op, t)
	width := t.dims[1] * t.dims[2]
	d.each(t.dims[0], max(1, zeroBlock/width), t.Len()/8, func(_ *cpu, _ *worker, from, to int) {
		for r := from; r < to; r++ {
			at := t.off + r*t.ld
			if t.dtype == BF16 {
				clear(t.mem.b16[at : at+width])
			} else {
				clear(t.mem.f32[at : at+width])
			}
		}
	})
	return t
}
