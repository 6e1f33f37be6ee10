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
	d.readsMatrix(op, table)
	d.writes(op, y)
	d.embed = embedJob{y: y, table: table, ids: ids.ints()}
	d.checkIDs(op, d.embed.ids, N)
	d.each(T, 32, T*C/8, func(d *cpu, w *worker, from, to int) {
		j := &d.embed
		for t := from; t < to; t++ {
			at, n := j.y.place(t)
			j.row(d.v, w, int(j.ids[t]), j.y, at, n)
		}
	})
}

// row copies row id of the table to n numbers of y.
func (j *embedJob) row(v *simd, w *worker, id int, y Tensor, at, n int) {
	src, from := j.table, j.table.off+id*j.table.ld
	if m := src.mem; m.ordered != nil {
		if p := m.panels(from); p != nil {
			words := w.lane(0, p.inner)
			gatherRow(words, m.rowWords(p, (from-p.off)/p.cols))
			switch {
			case src.dtype == F32 && y.dtype == F32:
				copy(y.mem.f32[at:at+n], words)
			case src.dtype == F32:
				v.narrow(y.mem.b16[at:at+n], words)
			case y.dtype == F32:
				v.widen(y.mem.f32[at:at+n], halves(words, n))
			default:
				copy(y.mem.b16[at:at+n], halves(words, n))
			}
			return
		}
	}
	switch {
	case src.dtype == F32 && y.dtype == F32:
		copy(y.mem.f32[at:at+n], src.mem.f32[from:])
	case src.dtype == F32:
		v.narrow(y.mem.b16[at:at+n], src.mem.f32[from:from+n])
	case y.dtype == F32:
		v.widen(y.mem.f32[at:at+n], src.mem.b16[from:from+n])
	default:
		copy(y.mem.b16[at:at+n], src.mem.b16[from:])
	}
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
	d.each(C, 32, T*C/8, func(d *cpu, w *worker, from, to int) {
		j := &d.embed
		for t, id := range j.ids {
			at, _ := j.table.place(int(id))
			sum := w.load(d.v, 0, j.table, at+from, to-from)
			at, _ = j.y.place(t)
			d.v.add(sum, w.load(d.v, 1, j.y, at+from, to-from))
			at, _ = j.table.place(int(id))
			store(d.v, j.table, at+from, sum)
		}
	})
}
