package dist

import (
	"fmt"
	"unsafe"

	k "retool/kernels"
)

// chunk is how many numbers of a tensor go to one rank in one round of frames. Rounds bound what lies in memory: a rank that is ahead
// waits.
const chunk = 1 << 18

func (m *mesh) chunk() int {
	if m.board != nil {
		return m.board.chunk()
	}
	return chunk
}

// ReduceScatter adds whole[p[rank]] of all ranks in the tree, and is over when it returns.
func (m *mesh) ReduceScatter(what string, part, whole k.Tensor, p Parts) Pending {
	if err := m.checkSum(what, whole, part, p); err != nil {
		return done{err}
	}
	own, n := p[m.rank], m.chunk()
	sums := adder{rank: m.rank}
	defer sums.free()
	body := func(to, round int, room func(int) []byte) []byte {
		return download(piece(whole, p[to], round, n), room)
	}
	return done{m.rounds(what, p, n, body, func(round int, got [][]byte) error {
		r := piece(part, Range{0, own.Len()}, round, n)
		if r.Len() == 0 {
			return nil
		}
		for from, b := range got {
			if from != m.rank && len(b) != 4*r.Len() {
				return m.fault("%q: rank %d sent %d bytes where %d were due", what, from, len(b), 4*r.Len())
			}
		}
		return sums.add(r, piece(whole, own, round, n), got)
	})}
}

// AllGather writes every rank's part into whole, and is over when it returns.
func (m *mesh) AllGather(what string, whole, part k.Tensor, p Parts) Pending {
	if err := m.checkGather(what, whole, part, p); err != nil {
		return done{err}
	}
	own, n := Range{0, p[m.rank].Len()}, m.chunk()
	if own.Len() > 0 {
		if err := copyPart(view(whole, p[m.rank]), part); err != nil {
			return done{m.fault("%q: %v", what, err)}
		}
	}
	var sent []byte // of a round: the same for every rank
	at := -1
	body := func(_, round int, room func(int) []byte) []byte {
		if round != at {
			sent, at = download(piece(part, own, round, n), room), round
		}
		return sent
	}
	return done{m.rounds(what, p, n, body, func(round int, got [][]byte) error {
		for from, b := range got {
			if from == m.rank {
				continue
			}
			r := piece(whole, p[from], round, n)
			if len(b) != r.Len()*whole.DType().Size() {
				return m.fault("%q: rank %d sent %d bytes where %d were due", what, from, len(b), r.Len()*whole.DType().Size())
			}
			upload(r, b)
		}
		return nil
	})}
}

// rounds exchanges tensors, so many numbers of a part at a time: those of the next round are under way while one is dealt with.
func (m *mesh) rounds(what string, p Parts, each int, body func(to, round int, room func(int) []byte) []byte,
	deal func(round int, got [][]byte) error) (err error) {
	if err := m.enter(what); err != nil {
		return err
	}
	defer m.leave()
	n := (longest(p) + each - 1) / each
	post := func(round int) {
		if round < n {
			m.post(what, func(to int, room func(int) []byte) []byte { return body(to, round, room) })
		}
	}
	defer func() { // what a device could not do
		if r := recover(); r != nil {
			err = m.fault("%q: %v", what, r)
		}
	}()
	post(0)
	for round := range n {
		post(round + 1)
		got, err := m.collect(what, round == 0)
		if err != nil {
			return err
		}
		if err := deal(round, got); err != nil {
			return err
		}
	}
	return nil
}

// checkSum and checkGather hold the arguments of a collective against one another and its rules.
func (m *mesh) checkSum(what string, whole, part k.Tensor, p Parts) error {
	if err := m.checkParts(what, whole, part, p); err != nil {
		return err
	}
	if m.size > k.MaxTree {
		return m.fault("%q: sums are of at most %d ranks, these are %d", what, k.MaxTree, m.size)
	}
	if whole.DType() != k.F32 || part.DType() != k.F32 {
		return m.fault("%q: sums are of f32, got %v and %v", what, whole, part)
	}
	return nil
}

func (m *mesh) checkGather(what string, whole, part k.Tensor, p Parts) error {
	if err := m.checkParts(what, whole, part, p); err != nil {
		return err
	}
	if whole.DType() != part.DType() {
		return m.fault("%q: whole is %v, a part %v", what, whole, part)
	}
	return nil
}

// checkParts holds the arguments of a collective against one another.
func (m *mesh) checkParts(what string, whole, part k.Tensor, p Parts) error {
	if len(p) != m.size {
		return m.fault("%q: %d parts for %d ranks", what, len(p), m.size)
	}
	if whole.Len() != p.Len() || part.Len() != p[m.rank].Len() {
		return m.fault("%q: whole is %v, this rank's part %v, where parts say %d and %d numbers", what, whole, part, p.Len(), p[m.rank].Len())
	}
	if !inPlace(whole, part, p[m.rank]) {
		return m.fault("%q: this rank's part is numbers %d to %d of whole, parts say from %d: want its own place, or memory apart from whole",
			what, part.Offset()-whole.Offset(), part.Offset()-whole.Offset()+part.Len()-1, p[m.rank].From)
	}
	for i, r := range p {
		if r.Len() < 0 || r.From != Parts(p[:i]).Len() {
			return m.fault("%q: parts %v do not follow one another", what, p)
		}
	}
	return nil
}

// inPlace reports whether part is its place in whole, or apart from it.
func inPlace(whole, part k.Tensor, own Range) bool {
	from, to := part.Offset()-whole.Offset(), part.Offset()-whole.Offset()+part.Len()
	return part.Len() == 0 || !k.SameMemory(whole, part) || from == own.From || to <= 0 || from >= whole.Len()
}

// view is a range of a contiguous tensor, as a vector.
func view(t k.Tensor, r Range) k.Tensor {
	if r.Len() == 0 {
		return k.Tensor{}
	}
	return t.Reshape(t.Len()).Rows(r.From, r.To)
}

// piece is what one round moves of a range, so many numbers.
func piece(t k.Tensor, r Range, round, n int) k.Tensor {
	from := min(r.From+round*n, r.To)
	return view(t, Range{from, min(from+n, r.To)})
}

// download is a tensor's numbers as they lie in a host's memory, where there is room for them: all hosts that Go's kernels run on are
// little-endian.
func download(t k.Tensor, room func(n int) []byte) []byte {
	if t.Len() == 0 {
		return nil
	}
	b := room(t.Len() * t.DType().Size())
	read(b, t)
	return b
}

// anew is room nowhere in particular.
func anew(n int) []byte { return make([]byte, n) }

// read is download into memory that is as long.
func read(b []byte, t k.Tensor) {
	switch t.DType() {
	case k.F32:
		t.Device().Download(numbers[float32](b), t)
	case k.BF16:
		t.Device().Download(numbers[uint16](b), t)
	default:
		t.Device().Download(numbers[int32](b), t)
	}
}

func upload(t k.Tensor, b []byte) {
	if t.Len() == 0 {
		return
	}
	switch t.DType() {
	case k.F32:
		t.Device().Upload(t, numbers[float32](b))
	case k.BF16:
		t.Device().Upload(t, numbers[uint16](b))
	default:
		t.Device().Upload(t, numbers[int32](b))
	}
}

// numbers is bytes as numbers: the same memory. What Go's or C's allocator gave begins where suits any number.
func numbers[T any](b []byte) []T {
	var one T
	if uintptr(unsafe.Pointer(unsafe.SliceData(b)))%unsafe.Alignof(one) != 0 {
		panic(fmt.Sprintf("dist: %d bytes that are not aligned", len(b)))
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(one)))
}

// adder adds what ranks sent, in the tree, on the device of the sum.
type adder struct {
	rank int // the row that the device has already; -1: none
	rows k.Tensor
}

func (a *adder) free() {
	if !a.rows.Absent() {
		a.rows.Device().Free(a.rows)
	}
}

// add writes the sum of the rows to dst, a vector; own is that of this rank. The first is the longest that it will be given.
func (a *adder) add(dst, own k.Tensor, rows [][]byte) error {
	dev, n := dst.Device(), dst.Len()
	if a.rows.Absent() {
		a.rows = dev.Alloc(k.F32, len(rows)*n)
	}
	x := a.rows.Reshape(len(rows), n)
	for i, b := range rows {
		if i != a.rank {
			upload(x.Rows(i, i+1), b)
		}
	}
	return dev.Do(func() {
		if a.rank >= 0 {
			dev.Copy(x.Rows(a.rank, a.rank+1).Reshape(n), own)
		}
		dev.SumTree(dst, x)
	})
}
