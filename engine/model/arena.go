package model

import "retool/kernels"

// align is the number of elements that a region of an allocation starts at a multiple of: 64 bytes of float32, a cache line; 32 of
// bf16, more than the 16 that a GPU's vector loads want.
const align = 16

// An arena hands out consecutive regions of one allocation. Without an allocation it only counts: the same code then runs twice,
// first to learn the size, then to take the regions.
type arena struct {
	t   kernels.Tensor
	off int

	cuts []int                      // where units begin
	of   func(u int) kernels.Tensor // when set: each unit lies in memory of its own
}

// begin says that what is taken from here on is another unit.
func (a *arena) begin() {
	if a.of != nil {
		a.t, a.off = a.of(len(a.cuts)), 0
	}
	a.cuts = append(a.cuts, a.off)
}

// take is the next region, absent while counting.
func (a *arena) take(shape ...int) kernels.Tensor {
	n := 1
	for _, d := range shape {
		n *= d
	}
	from := a.off
	a.off += (n + align - 1) / align * align
	if a.t.Absent() {
		return kernels.Tensor{}
	}
	return a.t.Rows(from, from+n).Reshape(shape...)
}

// ints carries the integers of a pass to the device in one copy: ids, positions, slots, page tables. Regions are reserved one
// after the other and filled by the caller. The allocation grows when a pass needs more, so a steady state allocates nothing.
type ints struct {
	dev   kernels.Device
	host  []int32
	t     kernels.Tensor
	boxes []any // boxes[i] is host[:(i+1)·intBlock] as the interface value that Upload takes: making one allocates
	shape [2]int
	off   int
}

// intBlock is the granularity, in elements, of what is uploaded.
const intBlock = 64

// begin forgets the regions and makes room for n elements in at most regions regions.
func (b *ints) begin(n, regions int) {
	b.off = 0
	need := n + regions*align
	if need <= len(b.host) {
		return
	}
	if !b.t.Absent() {
		b.dev.Free(b.t)
	}
	need = (need + need/2 + intBlock - 1) / intBlock * intBlock
	b.host = make([]int32, need)
	b.t = b.dev.Alloc(kernels.I32, need)
	b.boxes = make([]any, need/intBlock)
}

// take is the next region on the host, and where it starts.
func (b *ints) take(n int) (host []int32, at int) {
	at = b.off
	b.off += (n + align - 1) / align * align
	return b.host[at : at+n : at+n], at
}

// view is the region of n elements at the device, valid after upload.
func (b *ints) view(at, n int) kernels.Tensor { return b.t.Rows(at, at+n) }

// matrix is view as r rows of c. The shape is passed in b's own memory: a variadic argument would be an allocation.
func (b *ints) matrix(at, r, c int) kernels.Tensor {
	b.shape = [2]int{r, c}
	return b.view(at, r*c).Reshape(b.shape[:]...)
}

// upload copies all regions taken since begin.
func (b *ints) upload() {
	i := (b.off+intBlock-1)/intBlock - 1
	if i < 0 {
		return
	}
	n := min((i+1)*intBlock, len(b.host))
	if b.boxes[i] == nil {
		b.boxes[i] = b.host[:n]
	}
	b.dev.Upload(b.t.Rows(0, n), b.boxes[i])
}

func (b *ints) close() {
	if !b.t.Absent() {
		b.dev.Free(b.t)
	}
	*b = ints{dev: b.dev}
}
