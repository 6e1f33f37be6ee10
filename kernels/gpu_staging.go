package kernels

// staging is working memory for tensors that a kernel cannot take as they are, or not as fast.
type staging struct {
	g    *GPU
	at   uint64
	need int
	list []*staged
}

// staged is a (T, width) bf16 copy of a tensor.
type staged struct {
	t     Tensor
	a     arg
	off   int
	input bool
}

// rows16 says whether the copy engines can take t as it is: bf16, rows on 16-byte borders.
func rows16(t Tensor) bool { return t.dtype == BF16 && t.ld%8 == 0 && t.first()%16 == 0 }

func (s *staging) bytes(n int) int {
	at := s.need
	s.need += (n + 15) / 16 * 16
	return at
}

// take plans the argument for t; it is valid after begin.
func (s *staging) take(t Tensor, input bool) *staged {
	x := &staged{t: t, input: input, off: -1}
	if input {
		x.a = s.g.in(t)
	} else {
		x.a = s.g.out(t)
	}
	if !rows16(t) {
		x.off = s.bytes(2 * t.Len())
	}
	s.list = append(s.list, x)
	return x
}

// use is take where copied is asked for, else t as it is.
func (s *staging) use(t Tensor, copied bool) *staged {
	if copied {
		return s.take(t, true)
	}
	return &staged{a: s.g.in(t)}
}

// begin makes the copies of the inputs, end brings the outputs back.
func (s *staging) begin() {
	if s.need > 0 {
		s.at = s.g.temp(s.need)
	}
	for _, x := range s.list {
		if x.off < 0 {
			continue
		}
		whole := x.a
		x.a = arg{s.at + uint64(x.off), int32(x.t.dims[1]), int32(BF16)}
		if x.input {
			s.g.rowwise("copy", x.t.dims[0], x.t.dims[1], x.a, whole)
		}
	}
}

func (s *staging) end() {
	for _, x := range s.list {
		if x.off >= 0 && !x.input {
			s.g.rowwise("copy", x.t.dims[0], x.t.dims[1], s.g.in(x.t), x.a)
		}
	}
}
