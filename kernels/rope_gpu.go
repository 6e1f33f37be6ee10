package kernels

// RoPE gives a head a group of lanes, each with two pieces of it.
func (g *GPU) RoPE(qk, qRstd, kRstd, qkv Tensor, r Rotary, h Heads) {
	g.begin("RoPE")
	defer g.end()
	T := checkRoPE(qk, qRstd, kRstd, qkv, r, h)
	width := pieceWidth(h.Dim)
	lanes := 1
	for lanes < min(h.Dim/2/width, 32) {
		lanes *= 2
	}
	heads, in := h.Q+h.KV, g.in(qkv)
	if r.Bias.mem != nil {
		heads, in = h.Q+2*h.KV, g.out(qkv)
	}
	qr, kr := g.out(qRstd), g.out(kRstd)
	qr.ld, kr.ld = int32(h.Q), int32(h.KV) // contiguous
	g.launch("rope_fwd", [3]int{ceil(T*heads*lanes, 256), 1, 1}, 256, 0,
		g.out(qk), qr, kr, in, g.in(r.Bias), g.in(r.QNorm), g.in(r.KNorm), g.in(r.Pos), g.in(r.Table),
		int32(T), int32(h.Q), int32(h.KV), int32(heads), int32(h.Dim), int32(lanes), int32(width), r.Eps)
}

// RoPEBackward is a thread a pair of pieces.
func (g *GPU) RoPEBackward(dx, pos, table Tensor) {
	g.begin("RoPEBackward")
	defer g.end()
	T, H, D := checkRoPEBackward(dx, pos, table)
	width := pieceWidth(D)
	g.launch("rope_bwd", [3]int{ceil(T*H*(D/2/width), 256), 1, 1}, 256, 0,
		g.out(dx), g.in(pos), g.in(table), int32(T), int32(H), int32(D), int32(width))
}

// pieceWidth is how many pairs of a head a thread turns at once: eight, or one where eight do not divide half a head.
func pieceWidth(dim int) int {
	if dim/2%8 != 0 {
		return 1
	}
	return 8
}
