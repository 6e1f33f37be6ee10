package tokenizer

import "container/heap"

type merge struct{ rank, id int32 }

func pairOf(a, b int32) uint64 { return uint64(uint32(a))<<32 | uint64(uint32(b)) }

// scratch is the memory of one call of Encode.
type scratch struct {
	ids   []int32
	parts []part
	queue mergeQueue
}

// A part is a token of a word in the making; parts are a doubly linked list, in the order of the text.
type part struct {
	id         int32 // -1 once it is merged into its left neighbour
	prev, next int32 // -1 at the ends
}

// candidate is a pair that could be merged: the part at index left with the next one.
type candidate struct {
	rank, left int32
	pair       uint64 // what the two were when the candidate was queued
}

// mergeQueue is a heap: lowest rank first, of equal ranks the leftmost.
type mergeQueue []candidate

func (q mergeQueue) Len() int      { return len(q) }
func (q mergeQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q mergeQueue) Less(i, j int) bool {
	return q[i].rank < q[j].rank || q[i].rank == q[j].rank && q[i].left < q[j].left
}
func (q *mergeQueue) Push(x any) { *q = append(*q, x.(candidate)) }
func (q *mergeQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// scanLimit is up to how many bytes the next merge is found by looking at all pairs, which is quicker than a heap for the words of
// ordinary text and quadratic for the others.
const scanLimit = 48

// noByte is the id of a byte that the vocabulary lacks. Such a byte is left out of a text, and those beside it may merge.
const noByte = -1

// mergeWord appends the ids of one word.
func (t *BPE) mergeWord(ids []int32, word string, s *scratch) []int32 {
	if len(word) <= scanLimit {
		return t.mergeShort(ids, word)
	}
	s.parts, s.queue = s.parts[:0], s.queue[:0]
	for i := range len(word) {
		if id := t.byteID[word[i]]; id != noByte {
			at := int32(len(s.parts))
			s.parts = append(s.parts, part{id, at - 1, at + 1})
		}
	}
	if len(s.parts) == 0 {
		return ids
	}
	s.parts[len(s.parts)-1].next = -1
	for i := range s.parts {
		t.queueAt(s, int32(i))
	}
	heap.Init(&s.queue)
	for len(s.queue) > 0 {
		c := heap.Pop(&s.queue).(candidate)
		left := &s.parts[c.left]
		if left.id < 0 || left.next < 0 || pairOf(left.id, s.parts[left.next].id) != c.pair {
			continue // one of the two has been merged with another since
		}
		right := &s.parts[left.next]
		left.id, right.id = t.merges[c.pair].id, -1
		if left.next = right.next; left.next >= 0 {
			s.parts[left.next].prev = c.left
		}
		n := len(s.queue)
		if left.prev >= 0 {
			t.queueAt(s, left.prev)
		}
		t.queueAt(s, c.left)
		for ; n < len(s.queue); n++ {
			heap.Fix(&s.queue, n)
		}
	}
	for i := int32(0); i >= 0; i = s.parts[i].next {
		ids = append(ids, s.parts[i].id)
	}
	return ids
}

// queueAt appends, out of heap order, the pair that begins at part i, if it can be merged.
func (t *BPE) queueAt(s *scratch, i int32) {
	next := s.parts[i].next
	if next < 0 {
		return
	}
	pair := pairOf(s.parts[i].id, s.parts[next].id)
	if m, ok := t.merges[pair]; ok {
		s.queue = append(s.queue, candidate{m.rank, i, pair})
	}
}

// mergeShort is mergeWord for a word of at most scanLimit bytes.
func (t *BPE) mergeShort(ids []int32, word string) []int32 {
	var parts [scanLimit]int32
	var found [scanLimit]merge // found[i] merges parts i and i+1; rank < 0: nothing does
	n := 0
	for i := range len(word) {
		if id := t.byteID[word[i]]; id != noByte {
			parts[n] = id
			n++
		}
	}
	look := func(i int) {
		m, ok := t.merges[pairOf(parts[i], parts[i+1])]
		if !ok {
			m.rank = -1
		}
		found[i] = m
	}
	for i := range n - 1 {
		look(i)
	}
	for {
		best := -1
		for i := range n - 1 {
			if found[i].rank >= 0 && (best < 0 || found[i].rank < found[best].rank) {
				best = i
			}
		}
		if best < 0 {
			return append(ids, parts[:n]...)
		}
		parts[best] = found[best].id
		copy(parts[best+1:], parts[best+2:n])
		copy(found[best:], found[best+1:n-1])
		n--
		if best > 0 {
			look(best - 1)
		}
		if best < n-1 {
			look(best)
		}
	}
}
