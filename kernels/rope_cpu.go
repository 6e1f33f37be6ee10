package kernels

import "fmt"

type ropeJob struct {
	x, table Tensor
	pos      []int32
	sign     float32
}

func (d *cpu) RoPE(x, pos, table Tensor, sign float32) {
	const op = "RoPE"
	d.begin(op)
	T, H, D := checkRoPE(x, pos, table)
	d.reads(op, table)
	d.writes(op, x)
	d.rope = ropeJob{x: x, table: table, pos: pos.ints(), sign: sign}
	for t, p := range d.rope.pos {
		if uint(p) >= uint(table.dims[0]) {
			panic(fmt.Sprintf("kernels: RoPE: pos[%d] is %d, table is %v", t, p, table))
		}
	}
	d.each(T, 16, T*H*D/4, func(d *cpu, _ *worker, from, to int) {
		j := &d.rope
		D := j.x.dims[2]
		for t := from; t < to; t++ {
			turn, row := j.table.row(int(j.pos[t])), j.x.row(t)
			for h := 0; h < len(row); h += D {
				d.v.rope(row[h:h+D/2], row[h+D/2:h+D], turn[:D/2], turn[D/2:], j.sign)
			}
		}
	})
}
