package model

import (
	"math/bits"

	"retool/kernels"
)

// keptSets are the sets of a StepKept: on the device a bit for each id of the vocabulary, since a set's size is not known before it is
// there; on the host lists. The memory grows when a step draws more than any before.
type keptSets struct {
	on    bool
	words kernels.Tensor // (rows, KeptWords(V)) i32
	host  []int32
	lists [][]int32 // per feed
	ids   []int32   // theirs, one behind the other
}

// rows is how many there is room for; 0 where they are not kept.
func (k *keptSets) rows() int {
	if !k.on || k.words.Absent() {
		return 0
	}
	return k.words.Dim(0)
}

// room makes room for n rows of v ids, if they are kept.
func (k *keptSets) room(dev kernels.Device, n, v int) {
	if !k.on || n <= k.rows() {
		return
	}
	k.close(dev)
	k.words = dev.Alloc(kernels.I32, keptRoom(n), kernels.KeptWords(v))
	k.host = make([]int32, k.words.Len())
}

// keptRoom is how many rows are made room for where n are needed.
func keptRoom(n int) int { return n + n/2 }

// KeptBytes is the most that StepKept takes on the device for the sets of steps of at most n draws.
func (m *Model) KeptBytes(n int) int64 {
	if n = min(n, m.Options.MaxTokens); m.replays {
		n = padRows(n, m.Options.MaxTokens)
	}
	return int64(4 * keptRoom(n) * kernels.KeptWords(m.Config.Vocab))
}

func (k *keptSets) close(dev kernels.Device) {
	if !k.words.Absent() {
		dev.Free(k.words)
	}
	k.words = kernels.Tensor{}
}

// download copies the first n rows, if they are kept.
func (k *keptSets) download(dev kernels.Device, n int) {
	if k.on {
		dev.Download(k.host[:n*k.words.Dim(1)], k.words.Rows(0, n))
	}
}

// of lists the sets of the feeds that drew.
func (k *keptSets) of(batch []Feed) [][]int32 {
	k.lists, k.ids = k.lists[:0], k.ids[:0]
	row := 0
	for i := range batch {
		from := len(k.ids)
		if batch[i].Draw {
			w := k.words.Dim(1)
			k.ids = appendBits(k.ids, k.host[row*w:(row+1)*w])
			row++
		}
		k.lists = append(k.lists, k.ids[from:len(k.ids):len(k.ids)])
	}
	return k.lists
}

// appendBits appends the places of the bits that are 1.
func appendBits(ids, words []int32) []int32 {
	for i, word := range words {
		for u := uint32(word); u != 0; u &= u - 1 {
			ids = append(ids, int32(32*i+bits.TrailingZeros32(u)))
		}
	}
	return ids
}
