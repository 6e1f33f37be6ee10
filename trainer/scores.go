package trainer

import (
	"encoding/binary"
	"fmt"
	"math"

	k "retool/kernels"
)

// scores is what models say of a pass's rows; nil: not asked.
type scores struct{ logp, value, ref []float32 }

func (s *scores) lists() []*[]float32 { return []*[]float32{&s.logp, &s.value, &s.ref} }

// shareScores is the scores of all ranks' passes, by rank, where said are those of this one's.
func (r *Ranks) shareScores(what string, plans [][]*Batch, said []scores) ([][]scores, error) {
	if r.Size() == 1 {
		return [][]scores{said}, nil
	}
	var mine []byte
	for i := range said {
		for _, list := range said[i].lists() {
			mine = append(mine, byte(min(1, len(*list))))
			for _, x := range *list {
				mine = binary.LittleEndian.AppendUint32(mine, math.Float32bits(x))
			}
		}
	}
	everybody, err := r.gather(what, mine)
	if err != nil {
		return nil, err
	}
	all := make([][]scores, len(plans))
	for rank, b := range everybody {
		all[rank] = make([]scores, len(plans[rank]))
		for i := range all[rank] {
			for _, list := range all[rank][i].lists() {
				if b, err = readScores(b, list, len(plans[rank][i].Rows)); err != nil {
					return nil, fmt.Errorf("trainer: %s: rank %d: %w", what, rank, err)
				}
			}
		}
	}
	return all, nil
}

// readScores reads one list of n numbers, or its absence.
func readScores(b []byte, list *[]float32, n int) ([]byte, error) {
	if len(b) == 0 || b[0] == 1 && len(b) < 1+4*n {
		return nil, fmt.Errorf("%d bytes, where %d rows are due", len(b), n)
	}
	there := b[0] == 1
	if b = b[1:]; !there {
		return b, nil
	}
	*list = make([]float32, n)
	for i := range *list {
		(*list)[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return b[4*n:], nil
}

// passSums are the sums of one pass: of PolicyLoss, of ValueLoss, and these. They are added in float64, by slice and pass.
type passSums [2*k.Stats + 3]float64

const (
	sumValue   = k.Stats              // the first of ValueLoss
	sumEntropy = 2*k.Stats + iota - 1 // Σ weight · entropy
	sumWeight                         // Σ weight
	sumTokens
)

// sums reads a pass's statistics.
func (r *rows) sums(to *passSums) {
	var policy, value [k.Stats]float32
	r.dev.Download(policy[:], r.stats)
	r.dev.Download(value[:], r.valueStats)
	for i := range policy {
		to[i], to[sumValue+i] = float64(policy[i]), float64(value[i])
	}
}

// total adds the sums of passes, in order; of StatMaxDiff it is the largest, NaN if any is.
func total(sums []float64) (t passSums) {
	for at := 0; at < len(sums); at += len(t) {
		for i, x := range sums[at : at+len(t)] {
			if i == k.StatMaxDiff {
				t[i] = max(t[i], x)
			} else {
				t[i] += x
			}
		}
	}
	return t
}
