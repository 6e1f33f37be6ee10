package kernels

import (
	"fmt"
	"testing"
)

// Benchmarks print GFLOP/s of the products, for one thread and for all that the machine has.

func benchCPUs(b *testing.B, f func(b *testing.B, dev Device)) {
	for _, threads := range []int{1, 0} {
		for _, v := range variants()[max(0, len(variants())-1):] {
			b.Run(fmt.Sprintf("%s/threads=%d", v.name, threads), func(b *testing.B) {
				dev := newCPU(threads, v)
				defer dev.Close()
				b.ReportAllocs()
				f(b, dev)
			})
		}
	}
}

// filled is a matrix of small numbers.
func filled(dev Device, shape ...int) Tensor {
	t := dev.Alloc(F32, shape...)
	rng := newRand(uint64(t.Len()))
	x := make([]float32, t.Len())
	for i := range x {
		x[i] = float32(rng.float() - 0.5)
	}
	dev.Upload(t, x)
	return t
}

func rate(b *testing.B, flop float64) {
	b.ReportMetric(flop*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}

func BenchmarkLinear(b *testing.B) {
	for _, s := range [][3]int{
		{1, 128, 128}, {1, 384, 128}, {1, 128, 384}, {4, 256, 256}, {8, 128, 128}, {8, 256, 256}, {8, 896, 896}, {32, 384, 128}, {64, 128, 128},
		{64, 512, 512}, {64, 2048, 2048},
		{4096, 128, 128}, {4096, 384, 128}, {4096, 128, 384}, {4096, 768, 256}, {4096, 200, 128}, {1, 4864, 896},
	} {
		T, N, M := s[0], s[1], s[2]
		b.Run(fmt.Sprintf("T=%d/N=%d/M=%d", T, N, M), func(b *testing.B) {
			benchCPUs(b, func(b *testing.B, dev Device) {
				y, x, w := filled(dev, T, N), filled(dev, T, M), filled(dev, N, M)
				dev.Do(func() {
					dev.Linear(y, x, w, Tensor{})
					b.ResetTimer()
					for range b.N {
						dev.Linear(y, x, w, Tensor{})
					}
				})
				rate(b, 2*float64(T*N*M))
			})
		})
	}
}

func BenchmarkLinearBackward(b *testing.B) {
	for _, s := range [][3]int{{4096, 128, 128}, {4096, 384, 128}, {4096, 128, 384}, {4096, 768, 256}, {4096, 256, 768}} {
		T, N, M := s[0], s[1], s[2]
		for _, part := range []string{"dx", "dw"} {
			b.Run(fmt.Sprintf("%s/T=%d/N=%d/M=%d", part, T, N, M), func(b *testing.B) {
				benchCPUs(b, func(b *testing.B, dev Device) {
					dy, x, w := filled(dev, T, N), filled(dev, T, M), filled(dev, N, M)
					dx, dw := filled(dev, T, M), filled(dev, N, M)
					if part == "dx" {
						dw = Tensor{}
					} else {
						dx = Tensor{}
					}
					dev.Do(func() {
						dev.LinearBackward(dx, dw, Tensor{}, dy, x, w)
						b.ResetTimer()
						for range b.N {
							dev.LinearBackward(dx, dw, Tensor{}, dy, x, w)
						}
					})
					rate(b, 2*float64(T*N*M))
				})
			})
		}
	}
}

// BenchmarkPeak is what the processor's multiply-add units can do.
func BenchmarkPeak(b *testing.B) {
	benchCPUs(b, func(b *testing.B, dev Device) { rate(b, FMAs(dev, 1000*b.N)/float64(b.N)) })
}

func BenchmarkAttention(b *testing.B) {
	for _, length := range []int{128, 512} {
		const T, Q, D = 4096, 4, 32
		h := Heads{Q: Q, KV: Q, Dim: D}
		flop := 2 * float64(T) * float64(length+1) * Q * D
		run := func(name string, flop float64, f func(dev Device, q, k, v, o, lse, dq, starts Tensor)) {
			b.Run(fmt.Sprintf("%s/T=%d/of=%d", name, T, length), func(b *testing.B) {
				benchCPUs(b, func(b *testing.B, dev Device) {
					q, k, v, o, dq, lse := filled(dev, T, Q*D), filled(dev, T, Q*D), filled(dev, T, Q*D), filled(dev, T, Q*D), filled(dev, T, Q*D),
						dev.Alloc(F32, T, Q)
					starts := dev.Alloc(I32, T/length+1)
					for i := range starts.ints() {
						starts.ints()[i] = int32(i * length)
					}
					dev.Do(func() {
						dev.Attention(o, lse, q, k, v, starts, h)
						b.ResetTimer()
						for range b.N {
							f(dev, q, k, v, o, lse, dq, starts)
						}
					})
					rate(b, flop)
				})
			})
		}
		run("forward", flop, func(dev Device, q, k, v, o, lse, dq, starts Tensor) { dev.Attention(o, lse, q, k, v, starts, h) })
		run("backward", 2.5*flop, func(dev Device, q, k, v, o, lse, dq, starts Tensor) {
			dev.AttentionBackward(dq, dq, dq, o, o, lse, q, k, v, starts, h)
		})
	}
}

// BenchmarkRows is the operations that go over rows once: bytes read and written a second.
func BenchmarkRows(b *testing.B) {
	const T, C, F, V = 4096, 128, 384, 512
	for _, c := range []struct {
		op    string
		bytes int
		f     func(dev Device) func()
	}{
		{"RMSNorm", 8 * T * C, func(dev Device) func() {
			x, y, w := filled(dev, T, C), filled(dev, T, C), filled(dev, C)
			return func() { dev.RMSNorm(y, Tensor{}, x, Tensor{}, w, 1e-6) }
		}},
		{"SwiGLU", 12 * T * F, func(dev Device) func() {
			x, y := filled(dev, T, 2*F), filled(dev, T, F)
			return func() { dev.SwiGLU(y, x.Cols(0, F), x.Cols(F, 2*F)) }
		}},
		{"SwiGLUBackward", 28 * T * F, func(dev Device) func() {
			x, dx, y := filled(dev, T, 2*F), filled(dev, T, 2*F), filled(dev, T, F)
			return func() { dev.SwiGLUBackward(dx.Cols(0, F), dx.Cols(F, 2*F), y, x.Cols(0, F), x.Cols(F, 2*F)) }
		}},
		{"LogSumExp", 4 * 64 * V, func(dev Device) func() {
			x, lse := filled(dev, 64, V), filled(dev, 64)
			return func() { dev.LogSumExp(lse, x, 1) }
		}},
		{"Sample", 4 * 64 * V, func(dev Device) func() {
			x, ids, keys := filled(dev, 64, V), dev.Alloc(I32, 64), dev.Alloc(I32, 64, 3)
			return func() { dev.Sample(ids, x, Tensor{}, keys, Sampling{Seed: 1, Temperature: 1, TopP: 1}) }
		}},
		{"AdamW", 28 << 20, func(dev Device) func() {
			w, g, m, v := filled(dev, 1<<20), filled(dev, 1<<20), filled(dev, 1<<20), dev.Alloc(F32, 1<<20)
			return func() {
				dev.AdamW(w, Tensor{}, g, m, v, AdamWStep{LR: 1e-6, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Scale: 1, Step: 9})
			}
		}},
		{"SumSquares", 4 << 20, func(dev Device) func() {
			x, out := filled(dev, 1<<20), dev.Alloc(F32, 1<<20/SumTile)
			return func() { dev.SumSquares(out, x) }
		}},
		{"SumTree", 5 * 4 << 20, func(dev Device) func() {
			x, y := filled(dev, 4, 1<<20), dev.Alloc(F32, 1<<20)
			return func() { dev.SumTree(y, x) }
		}},
	} {
		b.Run(c.op, func(b *testing.B) {
			benchCPUs(b, func(b *testing.B, dev Device) {
				f := c.f(dev)
				b.SetBytes(int64(c.bytes))
				dev.Do(func() {
					f()
					b.ResetTimer()
					for range b.N {
						f()
					}
				})
			})
		})
	}
}

// BenchmarkDecode is one row of 64 sequences of 144 tokens in pages.
func BenchmarkDecode(b *testing.B) {
	const S, length, perS = 64, 144, 3
	h := Heads{Q: 4, KV: 4, Dim: 32}
	benchCPUs(b, func(b *testing.B, dev Device) {
		kv := dev.AllocKV(F32, S*perS, h)
		q, o := filled(dev, S, h.Q*h.Dim), filled(dev, S, h.Q*h.Dim)
		table := PageTable{Pages: dev.Alloc(I32, S, perS), Starts: dev.Alloc(I32, S+1), Len: dev.Alloc(I32, S)}
		for s := range S {
			table.Starts.ints()[s+1], table.Len.ints()[s] = int32(s+1), length
			for i := range perS {
				table.Pages.ints()[s*perS+i] = int32(s*perS + i)
			}
		}
		dev.Do(func() {
			b.ResetTimer()
			for range b.N {
				dev.PagedAttention(o, q, kv, table, h)
			}
		})
		rate(b, 4*float64(S*length*h.Q*h.Dim))
	})
}
