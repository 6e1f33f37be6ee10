package kernels

// Embed gathers rows of a table. An id that the table does not have gives a row of NaN.
func (g *GPU) Embed(y, table, ids Tensor) {
	g.begin("Embed")
	defer g.end()
	T, C, N := checkEmbed("Embed", "y", "table", y, table, ids)
	g.launch("embed_fwd", [3]int{T, 1, 1}, 128, 0, g.out(y), g.in(table), g.in(ids), int32(N), int32(C))
}

// EmbedBackward adds the rows of each id in the order of their tokens.
func (g *GPU) EmbedBackward(dtable, dy, ids Tensor) {
	g.begin("EmbedBackward")
	defer g.end()
	T, C, N := checkEmbed("EmbedBackward", "dy", "dtable", dy, dtable, ids)
	g.launch("embed_bwd", [3]int{T, 1, 1}, 128, 0, g.out(dtable), g.in(dy), g.in(ids), int32(T), int32(N), int32(C))
}
