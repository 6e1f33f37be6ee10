package dist

import (
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	k "retool/kernels"
)

// A part that is its own place in whole gives the same bits as one apart, over TCP's code and over a fabric, in one piece or several, and
// leaves the rest of whole alone; one that is another place is refused, on every rank.
func TestPartsInPlace(t *testing.T) {
	for _, fabric := range []bool{false, true} {
		const n = 3
		p := Divide(7*Tile+77, n)
		over := func() []Comm {
			if !fabric {
				return Local(n)
			}
			comms, errs := joinAll(t, n, nil)
			require.NoError(t, errors.Join(errs...))
			for r, w := range wired(n, Tile+1000) {
				comms[r] = Over(comms[r], w)
			}
			return comms
		}
		eachRank(over(), func(c Comm) {
			dev := k.NewCPU(1)
			defer dev.Close()
			whole, apart := dev.Alloc(k.F32, p.Len()), dev.Alloc(k.F32, p[c.Rank()].Len())
			mine := view(whole, p[c.Rank()])
			held := make([]float32, p.Len())
			for i := range held {
				held[i] = float32(i%1009) / float32(c.Rank()+3)
			}
			dev.Upload(whole, held)
			err := errors.Join(c.ReduceScatter("apart", apart, whole, p).Wait(), c.ReduceScatter("in place", mine, whole, p).Wait())
			after := fetch[float32](whole)
			if err != nil || !slices.Equal(fetch[float32](apart), fetch[float32](mine)) {
				t.Errorf("rank %d: %v, or other sums", c.Rank(), err)
			}
			copy(held[p[c.Rank()].From:], after[p[c.Rank()].From:p[c.Rank()].To])
			if !slices.Equal(held, after) {
				t.Errorf("rank %d: the rest of whole has changed", c.Rank())
			}
			other := dev.Alloc(k.F32, p.Len())
			err = errors.Join(c.AllGather("apart", other, apart, p).Wait(), c.AllGather("in place", whole, mine, p).Wait())
			if err != nil || !slices.Equal(fetch[float32](other), fetch[float32](whole)) {
				t.Errorf("rank %d: %v, or other numbers", c.Rank(), err)
			}
		})
		eachRank(over(), func(c Comm) {
			dev := k.NewCPU(1)
			defer dev.Close()
			whole := dev.Alloc(k.F32, p.Len())
			err := c.AllGather("weights", whole, whole.Rows(5, 5+p[c.Rank()].Len()), p).Wait()
			if err == nil {
				t.Errorf("rank %d: a part at another place", c.Rank())
			}
			require.ErrorContains(t, err, "want its own place, or memory apart from whole")
		})
	}
}
