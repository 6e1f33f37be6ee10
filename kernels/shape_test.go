package kernels

import "testing"

func TestWrongShapesNameBothSides(t *testing.T) {
	d := newCPU(1, goSIMD)
	other := newCPU(1, goSIMD)
	m := func(rows, cols int) Tensor { return d.Alloc(F32, rows, cols) }
	ids := d.Alloc(I32, 3)
	d.Upload(ids, []int32{0, 7, 1})
	freed := m(3, 4)
	d.Free(freed)
	h := Heads{Q: 2, KV: 1, Dim: 4}
	for _, c := range []struct {
		f     func()
		words []string
	}{
		{func() { d.Linear(m(3, 5), m(3, 4), m(5, 6), Tensor{}) },
			[]string{"kernels: Linear", "f32[3 4]", "f32[5 6]", "inner sizes 4 and 6 differ"}},
		{func() { d.Linear(m(2, 5), m(3, 4), m(5, 4), Tensor{}) }, []string{"f32[2 5]", "f32[3 4]", "rows differ"}},
		{func() { d.Linear(m(3, 5), m(3, 4), m(5, 4), d.Alloc(F32, 4)) }, []string{"b is f32[4]"}},
		{func() { w := m(32, 4); d.Arrange(w); d.Add(w, m(32, 4)) }, []string{"Add: f32[32 4] was arranged for Linear"}},
		{func() { w := m(32, 4); d.Arrange(w); d.Linear(m(3, 16), m(3, 4), w.Rows(16, 32), Tensor{}) },
			[]string{"Linear: w is f32[16 4]", "the whole of the matrix that was arranged"}},
		{func() { w := m(32, 4); d.Arrange(w); d.Upload(w.Reshape(128).Rows(2, 6), make([]float32, 4)) }, []string{"whole rows"}},
		{func() { w := m(32, 4); d.Arrange(w); d.Arrange(w) }, []string{"Arrange: f32[32 4]", "was arranged before"}},
		{func() { d.Linear(m(3, 5), other.Alloc(F32, 3, 4), m(5, 4), Tensor{}) }, []string{"belongs to another device"}},
		{func() { d.Linear(m(3, 5), freed, m(5, 4), Tensor{}) }, []string{"was freed"}},
		{func() { d.Embed(m(3, 4), m(5, 4), ids) }, []string{"Embed: ids[1] is 7, there are 5"}},
		{func() { d.RMSNorm(m(3, 4), Tensor{}, m(3, 4), Tensor{}, d.Alloc(F32, 3), 0) }, []string{"w is f32[3]", "x is f32[3 4]"}},
		{func() { d.RMSNorm(m(3, 4), Tensor{}, m(3, 4), m(2, 4), d.Alloc(F32, 4), 0) }, []string{"RMSNorm: add is f32[2 4]", "x is f32[3 4]"}},
		{func() { d.RoPE(m(3, 12), Tensor{}, Tensor{}, m(3, 16), Rotary{Pos: ids, Table: m(5, 4)}, h) },
			[]string{"RoPE: pos[1] is 7, table is f32[5 4]"}},
		{func() { d.RoPE(m(3, 12), Tensor{}, Tensor{}, m(3, 12), Rotary{Pos: ids, Table: m(8, 4)}, h) },
			[]string{"qkv is f32[3 12]", "3 tokens by 4 heads of 4"}},
		{func() {
			d.RoPE(m(3, 12), Tensor{}, Tensor{}, m(3, 16), Rotary{QNorm: d.Alloc(F32, 4), Pos: ids, Table: m(8, 4)}, h)
		}, []string{"QNorm is f32[4], KNorm is absent: both or neither"}},
		{func() { d.RoPEBackward(m(3, 8).Split(4), ids, m(8, 6)) }, []string{"RoPEBackward: table is f32[8 6], it must be f32 (positions,4)"}},
		{func() { d.Attention(m(3, 8), Tensor{}, m(3, 8), m(3, 4), m(3, 5), ids, h) },
			[]string{"Attention: v is f32[3 5]", "3 tokens by 1 heads of 4"}},
		{func() { d.Attention(m(3, 8), Tensor{}, m(3, 8), m(3, 4), m(3, 4), ids, h) }, []string{"starts[2] is 1", "ascend from 0 to the 3 rows"}},
		{func() { d.Attention(m(3, 8), Tensor{}, m(3, 8), m(3, 4), m(3, 4), ids, Heads{Q: 3, KV: 2, Dim: 4}) },
			[]string{"Q must be a multiple of KV"}},
		{func() { d.AppendKV(d.AllocKV(F32, 2, h), m(3, 4), m(3, 4), integers(d, 0, 1, 128)) }, []string{"AppendKV: page 2 of 2"}},
		{func() { d.LogSumExp(d.Alloc(F32, 3), m(3, 4), 0) }, []string{"temperature is 0"}},
		{func() { d.Sample(ids, m(3, 4), Tensor{}, Tensor{}, Sampling{Temperature: 1, TopP: 1}) },
			[]string{"keys is absent, it must be i32[3 3]"}},
		{func() { d.Restrict(m(3, 40), d.Alloc(I32, 3, 1), Tensor{}, Sampling{Temperature: 1, TopP: 1}) },
			[]string{"kept is i32[3 1], it must be i32[3 2]"}},
		{func() { d.Restrict(m(3, 40), d.Alloc(I32, 3, 2), Tensor{}, Sampling{TopP: 1}) }, []string{"Restrict", "temperature must be above 0"}},
		{func() { d.Sample(ids, m(3, 4), Tensor{}, Tensor{}, Sampling{Temperature: 1, TopP: 1, MinP: 2}) }, []string{"MinP 0 to 1"}},
		{func() { d.Keep(m(1, 4), integers(d, 0, 2), integers(d, 1, 1)) }, []string{"id 1 of the set of row 0 is 1: sets ascend, below 4"}},
		{func() { d.Keep(m(1, 4), integers(d, 0, 2), integers(d, 4)) }, []string{"the set of row 0 is ids 0 to 2 of i32[1]"}},
		{func() { d.Keep(m(3, 4), integers(d, 0, 2), integers(d, 4)) }, []string{"starts is i32[2], it must be i32[4]"}},
		{func() { d.AdamW(m(3, 4), Tensor{}, m(3, 5), m(3, 4), m(3, 4), AdamWStep{Step: 1}) }, []string{"AdamW: g is f32[3 5], w is f32[3 4]"}},
		{func() { d.Copy(m(3, 4), m(4, 3)) }, []string{"Copy: dst is f32[3 4], src is f32[4 3]"}},
		{func() { d.Upload(m(3, 4), make([]float32, 5)) }, []string{"Upload", "f32[3 4]", "[]float32 of 5"}},
		{func() { d.Download(make([]int32, 12), m(3, 4)) }, []string{"Download", "f32[3 4]", "[]int32"}},
	} {
		mustPanic(t, func() { d.Do(c.f) }, c.words...)
	}
	one := m(1, 1)
	mustPanic(t, func() { d.Add(one, one) }, "Add was called outside Do")
	mustPanic(t, func() { d.Free(freed) }, "freed before")
	if err := d.Do(func() {}); err != nil { // a panic lets go of the device
		t.Error(err)
	}
}
