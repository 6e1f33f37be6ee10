package kernels

import (
	"testing"

	"retool/kernels/emu"
)

// A vector is a long row, not many short ones; a view keeps its rows; and pieces cover every element once.
func TestElementwiseKernelsTakeLongRows(t *testing.T) {
	d := emulated(t, emu.Options{Capability: 80})
	flat := d.Alloc(BF16, 5000)
	if p := longRows(flat, flat); len(p) != 1 || p[0][0].dims != [3]int{1, 5000, 1} {
		t.Errorf("5000 numbers are taken as %v", p)
	}
	big := Tensor{mem: flat.mem, dims: [3]int{3*longRow + 7, 1, 1}, ld: 1, rank: 1, dtype: BF16}
	p := longRows(big)
	if len(p) != 2 || p[0][0].dims != [3]int{3, longRow, 1} || p[0][0].ld != longRow || p[1][0].off != 3*longRow ||
		p[1][0].dims != [3]int{1, 7, 1} {
		t.Errorf("%d numbers are taken as %v", big.Len(), p)
	}
	view := d.Alloc(F32, 6, 16).Cols(4, 9)
	if p := longRows(view); len(p) != 1 || p[0][0].dims != view.dims || p[0][0].ld != 16 {
		t.Errorf("a view is taken as %v", p)
	}
	x := normals(1, 5000)
	d.Upload(flat, x)
	out := d.Alloc(F32, 50, 100)
	mustDo(t, d, func() { d.Copy(out.Reshape(5000), flat) })
	for i, v := range floats32(d, out) {
		if v != x[i] {
			t.Fatalf("number %d is %v, want %v", i, v, x[i])
		}
	}
	mustDo(t, d, func() { d.Zero(out.Rows(1, 50)) })
	for i, v := range floats32(d, out) {
		if want := x[i] * float32(min(1, max(0, 100-i))); v != want {
			t.Fatalf("number %d is %v after Zero, want %v", i, v, want)
		}
	}
}
