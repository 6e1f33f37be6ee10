package engine

import (
	"encoding/binary"
	"errors"
	"iter"
	"math/bits"
	"slices"
)

// A sampling set is what top-p, top-k or min-p left of the vocabulary when a token was drawn. A trajectory keeps that of every token the
// policy chose, one behind the other, as bytes:
//
//	uvarint 2·others + form, then the others, the drawn token left out:
//	form 0: uvarints, the first id and each next one's distance from the one before, less one
//	form 1: uvarint length, then bits, of id i bit i%8 of byte i/8
//
// whichever form is shorter. A set of one, which most are at a small top-p, is one byte. Why ids and no bound: see the package comment.

var errSets = errors.New("engine: sampling sets that are none")

// appendSet appends the set of a token; ids ascend and hold it, unless no id could be told from another.
func appendSet(b []byte, drawn int32, ids []int32) []byte {
	others, size, last := 0, 0, int32(-1)
	var gap [binary.MaxVarintLen32]byte
	for _, id := range ids {
		if id != drawn {
			size += binary.PutUvarint(gap[:], uint64(id-last-1))
			last = id
			others++
		}
	}
	if n := int(last)/8 + 1; size > n+binary.PutUvarint(gap[:], uint64(n)) {
		b = binary.AppendUvarint(b, uint64(2*others+1))
		b = binary.AppendUvarint(b, uint64(n))
		at := len(b)
		b = append(b, make([]byte, n)...)
		for _, id := range ids {
			if id != drawn {
				b[at+int(id)/8] |= 1 << (id % 8)
			}
		}
		return b
	}
	b = binary.AppendUvarint(b, uint64(2*others))
	last = -1
	for _, id := range ids {
		if id != drawn {
			b = binary.AppendUvarint(b, uint64(id-last-1))
			last = id
		}
	}
	return b
}

// takeSet appends the set at the beginning of b to ids and returns what is left of b.
func takeSet(b []byte, drawn int32, ids []int32) (rest []byte, out []int32, err error) {
	from := len(ids)
	number := func() (x uint64) {
		x, n := binary.Uvarint(b)
		if n <= 0 || x > 1<<32 {
			err, b = errSets, nil
			return 0
		}
		b = b[n:]
		return x
	}
	head := number()
	others := head / 2
	if head%2 == 1 {
		n := number()
		if n > uint64(len(b)) {
			return nil, ids, errSets
		}
		for i, set := range b[:n] {
			for ; set != 0; set &= set - 1 {
				ids = append(ids, int32(8*i+bits.TrailingZeros8(set)))
			}
		}
		b = b[n:]
	} else {
		for at := uint64(0); others > 0 && uint64(len(ids)-from) < others && err == nil; at++ {
			if at += number(); at > 1<<31-1 {
				return nil, ids, errSets
			}
			ids = append(ids, int32(at))
		}
	}
	place, twice := slices.BinarySearch(ids[from:], drawn)
	if err != nil || twice || uint64(len(ids)-from) != others {
		return nil, ids, errSets
	}
	return b, slices.Insert(ids, from+place, drawn), nil
}

// HasSets reports whether the tokens were drawn from sets: if not, they were drawn from the whole vocabulary.
func (t *Trajectory) HasSets() bool { return len(t.sets) > 0 }

// Sets are the sampling sets of the policy's tokens in their order, each ascending, its token among them; none where HasSets is false. A
// set is good until the next.
func (t *Trajectory) Sets() iter.Seq[[]int32] {
	return func(yield func([]int32) bool) {
		b := t.sets
		var ids []int32
		for _, k := range t.tokens {
			if len(b) == 0 {
				return
			}
			if k.Source != Policy {
				continue
			}
			var err error
			if b, ids, err = takeSet(b, k.ID, ids[:0]); err != nil {
				panic(err) // UseSets lets none of these in
			}
			if !yield(ids) {
				return
			}
		}
	}
}

// SetBytes is the sets as they are written and sent; nil: there are none.
func (t *Trajectory) SetBytes() []byte { return t.sets }

// UseSets gives a trajectory the sets that SetBytes of its like returned; for the error see CheckSets.
func (t *Trajectory) UseSets(b []byte) error {
	var chosen []int32
	for _, k := range t.tokens {
		if len(b) > 0 && k.Source == Policy {
			chosen = append(chosen, k.ID)
		}
	}
	if err := CheckSets(b, chosen); err != nil {
		return err
	}
	t.sets = b
	return nil
}

// CheckSets refuses bytes that are not one set for each of the tokens that a policy chose; none at all will do.
func CheckSets(b []byte, chosen []int32) (err error) {
	if len(b) == 0 {
		return nil
	}
	var ids []int32
	for _, id := range chosen {
		if b, ids, err = takeSet(b, id, ids[:0]); err != nil {
			return err
		}
	}
	if len(b) > 0 {
		return errSets
	}
	return nil
}
