package kernels

// Embedding looks rows of a table up.
type Embedding interface {
	// Embed gathers rows: y[t] = table[ids[t]]. y (T,C), table (N,C), ids (T) i32.
	Embed(y, table, ids Tensor)
	// EmbedBackward adds dy[t] to dtable[ids[t]], t ascending.
	EmbedBackward(dtable, dy, ids Tensor)
}

func checkEmbed(op, yName, tableName string, y, table, ids Tensor) (T, C, N int) {
	checkFloats(op, yName, y, 2)
	checkFloats(op, tableName, table, 2)
	if y.dims[1] != table.dims[1] {
		wrong(op, yName, y, tableName, table, "widths of rows differ")
	}
	checkVector(op, "ids", ids, I32, y.dims[0])
	return y.dims[0], y.dims[1], table.dims[0]
}
