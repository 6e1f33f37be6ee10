package kernels

import (
	"errors"
	"flag"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"retool/kernels/driver"
	"retool/kernels/emu"
)

// emulated is the GPU device over the emulator, which checks memory, races and barriers of every launch.
func emulated(t testing.TB, o emu.Options) *GPU {
	g, err := NewGPU(emu.New(o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

// conformSome is conform for the operations that take says.
func conformSome(t *testing.T, s subject, take func(op string) bool) {
	checks := flag.Lookup("rapid.checks").Value
	if was := checks.String(); was == "100" {
		checks.Set(strconv.Itoa(s.checks))
		defer checks.Set(was)
	}
	for _, c := range conformance {
		if take(c.op) {
			t.Run(c.op, func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) { c.check(t, &s) })
			})
		}
	}
}

// The kernels that ship, through the wrappers that ship, under the checker: every operation in bf16, and those that have an fp32 form in
// fp32 to fp32's accuracy.
func TestEmulatedGPUAgreesWithItsReference(t *testing.T) {
	all := func(string) bool { return true }
	fp32 := func(op string) bool { return !strings.Contains(op, "Attention") && op != "CopyPages" }
	t.Run("bf16", func(t *testing.T) {
		conformSome(t, subject{dev: emulated(t, emu.Options{Capability: 80}), dtype: BF16, tol: 1.5e-2, checks: 3}, all)
	})
	t.Run("f32", func(t *testing.T) {
		conformSome(t, subject{dev: emulated(t, emu.Options{Capability: 90}), dtype: F32, tol: 4e-6, checks: 3}, fp32)
	})
	t.Run("sm_90a", func(t *testing.T) {
		conformSome(t, subject{dev: hopper(t, emu.Options{}), dtype: BF16, tol: 1.5e-2, checks: 3}, all)
	})
	t.Run("sm_90a, random schedule", func(t *testing.T) {
		conformSome(t, subject{dev: hopper(t, emu.Options{Seed: 5}), dtype: BF16, tol: 1.5e-2, checks: 2}, func(op string) bool { return op == "Linear" || op == "Attention" || op == "PagedAttention" })
	})
	t.Run("random schedule", func(t *testing.T) {
		conformSome(t, subject{dev: emulated(t, emu.Options{Capability: 80, Seed: 7}), dtype: BF16, tol: 1.5e-2, checks: 2}, all)
	})
}

// The same on hardware, where there is some: go test -tags cuda.
func TestHardwareAgreesWithItsReference(t *testing.T) {
	open := func() *GPU {
		g, err := OpenGPU(0)
		if errors.Is(err, driver.ErrNoGPU) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { g.Close() })
		return g
	}
	all := func(string) bool { return true }
	g := open()
	t.Run("bf16", func(t *testing.T) { conformSome(t, subject{dev: g, dtype: BF16, tol: 1.5e-2, checks: 40}, all) })
	t.Run("f32", func(t *testing.T) {
		conformSome(t, subject{dev: g, dtype: F32, tol: 2e-5, checks: 40}, func(op string) bool { return !strings.Contains(op, "Attention") && op != "CopyPages" })
	})
	if g := open(); g.Hopper() == nil {
		t.Run("Hopper", func(t *testing.T) { conformSome(t, subject{dev: g, dtype: BF16, tol: 1.5e-2, checks: 40}, all) })
	}
}

// BenchmarkEmulator is how fast the emulator runs: warp instructions a second, checked and not.
func BenchmarkEmulator(b *testing.B) {
	for _, c := range []struct {
		name string
		o    emu.Options
	}{{"checked", emu.Options{Capability: 80}}, {"unchecked", emu.Options{Capability: 80, NoCheck: true}}} {
		dev := emu.New(c.o)
		d, err := NewGPU(dev)
		if err != nil {
			b.Fatal(err)
		}
		h := Heads{Q: 1, KV: 1, Dim: 64, Chunk: 64}
		q, o, starts := upload(d, normals(1, 256*64), 256, 64), d.Alloc(BF16, 256, 64), d.Alloc(I32, 2)
		d.Upload(starts, []int32{0, 256})
		x, y, w := upload(d, normals(2, 8*1024), 8, 1024), d.Alloc(BF16, 8, 1024), upload(d, normals(3, 1024), 1, 1024).Reshape(1024)
		for _, op := range []struct {
			name string
			f    func()
		}{
			{"rmsnorm 8x1024", func() { d.RMSNorm(y, Tensor{}, x, Tensor{}, w, 1e-6) }},
			{"attention T256 D64", func() { d.Attention(o, Tensor{}, q, q, q, starts, h) }},
		} {
			b.Run(c.name+"/"+op.name, func(b *testing.B) {
				dev.Reset()
				for range b.N {
					if err := d.Do(op.f); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(dev.Counters().Instructions)/b.Elapsed().Seconds()/1e6, "Mwarp/s")
			})
		}
		d.Close()
	}
}
