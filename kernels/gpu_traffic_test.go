package kernels

import (
	"fmt"
	"testing"

	"retool/kernels/emu"
)

// counting is an emulated GPU whose counters can be read, of sm_80 or with the kernels of Hopper.
func counting(t testing.TB, capability int) (*GPU, *emu.Device) {
	dev := emu.New(emu.Options{Capability: capability})
	d, err := NewGPU(dev)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if capability == 90 {
		if err := d.Hopper(); err != nil {
			t.Fatal(err)
		}
	}
	return d, dev
}

// A gradient that is written instead of cleared and added to saves two passes over its bytes: clearing and reading.
func TestGPUFreshSavesTheBytesOfItsOutput(t *testing.T) {
	for _, capability := range []int{80, 90} {
		d, dev := counting(t, capability)
		const T, N, M = 130, 40, 256
		dy, w := upload(d, normals(1, T*N), T, N), upload(d, normals(2, N*M), N, M)
		for _, dtype := range []DType{BF16, F32} {
			dx := d.Alloc(dtype, T, M)
			sectors := func(f func()) int {
				dev.Reset()
				mustDo(t, d, f)
				return int(dev.Counters().GlobalSectors)
			}
			added := sectors(func() { d.Zero(dx); d.LinearBackward(dx, Tensor{}, Tensor{}, dy, Tensor{}, w) })
			written := sectors(func() { d.LinearBackward(dx.Fresh(), Tensor{}, Tensor{}, dy, Tensor{}, w) })
			want := 2 * T * M * dtype.Size() / 32
			if dtype == F32 {
				want *= 2 // a thread's eight neighbours are two pieces of 16 bytes, and each counts its half of a sector
			}
			if saved := added - written; saved != want {
				t.Errorf("sm_%d, %v: %d sectors are saved, want %d: those of clearing and of reading", capability, dtype, saved, want)
			}
		}
	}
}

// What the copy engine brings is what the cost of a tile says, for pairs of tiles less by half of what they have in common.
func TestGPUTilesBringTheBytesOfTheirCost(t *testing.T) {
	d, dev := counting(t, 90)
	defer func() { d.pick = d.choose }()
	const m, n, k = 256, 512, 128
	x, w, y := upload(d, normals(1, m*k), m, k), upload(d, normals(2, n*k), n, k), d.Alloc(BF16, m, n)
	for _, tile := range hopperTiles {
		takeTile(d, tile)
		dev.Reset()
		mustDo(t, d, func() { d.Linear(y, x, w, Tensor{}) })
		got, want := dev.Counters().BulkBytes, int64(tile.cost(m, n, k, 4).l2Bytes)
		if got != want {
			t.Errorf("%+v: %d bytes were brought, its cost says %d", tile, got, want)
		}
	}
}

// passShape is a model as the bytes of its passes see it.
type passShape struct {
	name                              string
	layers, hidden, q, kv, ffn, vocab int // q, kv: columns
}

func (s passShape) products() []struct {
	name     string
	n, k, of int
} {
	return []struct {
		name     string
		n, k, of int
	}{
		{"qkv", s.q + 2*s.kv, s.hidden, s.layers}, {"o", s.hidden, s.q, s.layers}, {"gate, up", 2 * s.ffn, s.hidden, s.layers},
		{"down", s.hidden, s.ffn, s.layers}, {"head", s.vocab, s.hidden, 1},
	}
}

// traffic is what a pass moves, in bytes, and how long its products take by their cost.
type traffic struct{ l2, dram, seconds float64 }

// product adds the products of a pass by the cheapest of some tiles. traced: bytes of c that are read and written for an element.
func (p *traffic) product(kernel string, m, n, k, times int, tiles []tiling, traced float64) {
	if m == 0 || k == 0 {
		return
	}
	d := h200()
	var of []tiling
	for _, t := range tiles {
		if kernel == "nt" || t.back {
			of = append(of, t)
		}
	}
	c := d.choose(m, n, k, of).cost(m, n, k, 132)
	p.l2 += float64(times) * c.l2Bytes
	p.dram += float64(times) * (2*float64(m*k+n*k) + traced*float64(m*n))
	p.seconds += float64(times) * c.cycles / 17e8
}

// h200 is a GPU that chooses, and does nothing else.
func h200() *GPU {
	d := &GPU{}
	d.info.Multiprocessors = 132
	return d
}

// aloneTiles are those of one block.
func aloneTiles() (of []tiling) {
	for _, t := range hopperTiles {
		if t.pair == alone {
			of = append(of, t)
		}
	}
	return of
}

// decode is a step of B sequences over contexts of n tokens in bf16. draws: the head's product keeps of 32 logits 16 bytes, which are read
// once; else the log-sum-exp and the draw read its logits.
func (s passShape) decode(B, n int, tiles []tiling, draws bool) (p traffic) {
	logit, reads := 4.0, 2.0
	if draws {
		logit, reads = 16.0/drawUnit, 1
	}
	for _, w := range s.products() {
		out := 2.0
		if w.name == "head" {
			out = logit
		}
		p.product("nt", B, w.n, w.k, w.of, tiles, out)
	}
	rows := float64(B * s.layers)
	p.dram += rows * float64(n*2*s.kv*2)                                    // keys and values
	p.dram += rows * 2 * float64(2*4*s.hidden+2*(s.q+2*s.kv)+3*s.ffn+2*s.q) // norms, rotation, activation, attention
	p.dram += float64(B) * reads * logit * float64(s.vocab)
	return p
}

// train is forward and backward of T tokens, of which all have logits. fresh: gradients are written, not cleared and added to, those of
// weights in the first pass of a step; norm's dw comes with dx.
func (s passShape) train(T int, tiles []tiling, fresh bool) (p traffic) {
	grad, weight, glu, norm, heads, logit := 2.0*3, 4.0*3, 18.0, 12.0, 4.0, 20.0 // bytes an element: cleared, read, written
	if fresh {
		grad, weight, glu, norm, heads, logit = 2, 4, 10, 8, 0, 12
	}
	for _, w := range s.products() {
		out := 2.0
		if w.name == "head" {
			out = 4
		}
		rows := T
		if w.name == "head" { // in pieces, which add to dw, but for the first
			if rows = 896; fresh {
				rows = h200().HeadRows(s.vocab, s.hidden, 192<<20/s.vocab)
			}
			p.product("tn", w.n, w.k, rows, T/rows-1, tiles, 8)
			p.product("nt", T%rows, w.n, w.k, 1, tiles, out)
			p.product("nn", T%rows, w.k, w.n, 1, tiles, grad)
			p.product("tn", w.n, w.k, T%rows, 1, tiles, 8)
			w.of = T / rows
		}
		p.product("nt", rows, w.n, w.k, w.of, tiles, out)
		p.product("nn", rows, w.k, w.n, w.of, tiles, grad)
		if w.name == "head" {
			w.of = 1
		}
		p.product("tn", w.n, w.k, rows, w.of, tiles, weight)
	}
	t, l := float64(T), float64(s.layers)
	p.dram += l * t * float64(s.ffn) * (6 + glu)
	p.dram += (2*l + 1) * t * float64(s.hidden) * (8 + norm)
	p.dram += l * t * heads * float64(s.q+2*s.kv)                    // gradients of queries, keys, values: cleared, and read to be added to
	p.dram += l * t * 2 * (3*2*float64(s.q+2*s.kv) + 4*float64(s.q)) // rotation and attention, keys and values once
	p.dram += t * float64(s.vocab) * logit                           // log-sum-exp, log-probability, gradient, and its rounding: now at once
	return p
}

// Bytes of a decode step and of a training pass, from the cost of products and counts of the other operations: to be printed with -v.
func TestGPUBytesOfAPass(t *testing.T) {
	big := passShape{"7B", 28, 3584, 3584, 512, 18944, 152064}
	small := passShape{"0.5B", 24, 896, 896, 128, 4864, 151936}
	line := func(what string, was, is traffic) {
		t.Logf("%-24s L2 %7.1f -> %7.1f GB   DRAM %6.1f -> %6.1f GB   products %7.2f -> %7.2f ms predicted", what, was.l2/1e9, is.l2/1e9,
			was.dram/1e9, is.dram/1e9, was.seconds*1e3, is.seconds*1e3)
		if is.dram > was.dram || is.seconds > was.seconds {
			t.Errorf("%s takes more than before", what)
		}
	}
	for _, B := range []int{1, 32, 64, 128, 256} {
		for _, s := range []passShape{small, big} {
			line(fmt.Sprintf("%s, step of %d", s.name, B), s.decode(B, 1024, aloneTiles(), false), s.decode(B, 1024, hopperTiles, true))
		}
	}
	for _, s := range []passShape{small, big} {
		line(s.name+", training of 8192", s.train(8192, aloneTiles(), false), s.train(8192, hopperTiles, true))
	}
}
