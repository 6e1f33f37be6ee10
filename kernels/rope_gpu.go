package kernels

// RoPE turns eight pairs a thread where half a head is a multiple of eight, else one.
func (g *GPU) RoPE(x, pos, table Tensor, sign float32) {
	g.begin("RoPE")
	defer g.end()
	T, H, D := checkRoPE(x, pos, table)
	width := 8
	if D/2%8 != 0 {
		width = 1
	}
	g.launch("rope", [3]int{ceil(T*H*(D/2/width), 256), 1, 1}, 256, 0, g.out(x), g.in(pos), g.in(table), int32(T), int32(H), int32(D), int32(width), sign)
}
