package kernels

import "fmt"

type embedJob struct {
	y, table Tensor
	ids      []int32
}

func (d *cpu) checkIDs(op string, ids []int32, n int) {
	for t, id := range ids {
		if uint(id) >= uint(n) {
			panic(fmt.Sprintf("kernels: %s: ids[%d] is %d, there are %d", op, t, id, n))
		}
	}
}

func (d *cpu) Embed(y, table, ids Tensor) {
	const op = "Embed"
	d.begin(op)
	T, C, N := checkEmbed(op, "y", "table", y, table, ids)
	d.reads(op, table)
	d.writes(op, y)
	d.embed = embedJob{y: y, table: table, ids: ids.ints()}
	d.checkIDs(op, d.embed.ids, N)
	d.each(T, 32, T*C/8, func(d *cpu, _ *worker, from, to int) {
		j := &d.embed
		for t := from; t < to; t++ {
			copy(j.y.row(t), j.table.row(int(j.ids[t])))
		}
	})
}

func (d *cpu) EmbedBackward(dtable, dy, ids Tensor) {
	const op = "EmbedBackward"
	d.begin(op)
	T, C, N := checkEmbed(op, "dy", "dtable", dy, dtable, ids)
	if dtable.mem == nil {
		return
	}
	d.reads(op, dy)
	d.writes(op, dtable)
	d.embed = embedJob{y: dy, table: dtable, ids: ids.ints()}
	d.checkIDs(op, d.embed.ids, N)
	// Threads divide columns: rows of one id are added in the order of their tokens.
	d.each(C, 32, T*C/8, func(d *cpu, _ *worker, from, to int) {
		j := &d.embed
		for t, id := range j.ids {
			d.v.add(j.table.row(int(id))[from:to], j.y.row(t)[from:to])
		}
	})
}
