package trainer

import (
	"testing"

	"github.com/stretchr/testify/require"

	k "retool/kernels"
)

// What passes through the device a window at a time comes out as what lay there whole; so does a part of it that begins and ends within
// windows, and nothing beside it moves.
func TestWindowsDoNotShow(t *testing.T) {
	dev := k.NewCPU(2)
	defer dev.Close()
	const n = Window + 1000
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(i%977)/977 - 0.5
	}
	var want [3][]float32
	for _, offload := range []bool{false, true} {
		s := newAdamState(dev, n, offload, false, false, k.Tensor{}, nil)
		w, g := dev.Alloc(k.F32, n), dev.Alloc(k.F32, n)
		dev.Upload(w, x)
		dev.Upload(g, x)
		for step, r := range [][2]int{{0, n}, {300, n - 7}} {
			windows := 0
			require.NoError(t, s.each(r[0], r[1], func(from, to int, m, v, master k.Tensor) {
				windows++
				require.True(t, master.Absent())
				dev.AdamW(w.Rows(from, to), master, g.Rows(from, to), m, v,
					k.AdamWStep{LR: 0.1, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Scale: 1, Step: step + 1})
			}))
			require.Equal(t, offload, windows == 2)
		}
		got := [3][]float32{make([]float32, n), all(s, stateM), all(s, stateV)}
		dev.Download(got[0], w)
		if !offload {
			want = got
		}
		for i := range got {
			require.True(t, equal(want[i], got[i]), "kind %d", i)
		}
		s.write(stateM, 0, x)
		require.True(t, equal(x, all(s, stateM)))
		require.NoError(t, s.forget())
		require.True(t, equal(make([]float32, n), all(s, stateM)))
		s.free(false)
		dev.Free(w)
		dev.Free(g)
	}
}

func equal(a, b []float32) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

func all(s *adamState, kind int) []float32 {
	x := make([]float32, s.n)
	s.read(kind, 0, x)
	return x
}
