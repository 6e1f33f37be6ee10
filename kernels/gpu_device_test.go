package kernels

import (
	"errors"
	"flag"
	"fmt"
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

// conformSome is conform for the operations that take says. Where there is a way to reopen the device, a failure of one operation, which
// the device would keep, does not reach the next.
func conformSome(t *testing.T, s subject, take func(op string) bool) {
	checks := flag.Lookup("rapid.checks").Value
	if was := checks.String(); was == "100" {
		checks.Set(strconv.Itoa(s.checks))
		defer checks.Set(was)
	}
	for _, c := range conformance {
		if take(c.op) && !t.Run(c.op, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { c.check(t, &s) })
		}) && s.reopen != nil {
			s.dev = s.reopen()
		}
	}
}

func allOps(string) bool { return true }

// exactOps have an fp32 form.
func exactOps(op string) bool { return !strings.Contains(op, "Attention") && op != "CopyPages" }

// The kernels that ship, through the wrappers that ship, under the checker: every operation in bf16, and those that have an fp32 form in
// fp32 to fp32's accuracy. The device queues, but for the random schedules.
func TestEmulatedGPUAgreesWithItsReference(t *testing.T) {
	for _, n := range multiprocessors {
		t.Run(fmt.Sprint("sm_80 of ", n), func(t *testing.T) {
			d := emulated(t, emu.Options{Capability: 80, Multiprocessors: n, Queued: true})
			conformSome(t, subject{dev: d, dtype: BF16, tol: 1.5e-2, checks: 3}, allOps)
		})
		t.Run(fmt.Sprint("sm_90a of ", n), func(t *testing.T) {
			d := hopper(t, emu.Options{Multiprocessors: n, Queued: true})
			conformSome(t, subject{dev: d, dtype: BF16, tol: 1.5e-2, checks: 3}, allOps)
		})
	}
	t.Run("f32", func(t *testing.T) {
		conformSome(t, subject{dev: emulated(t, emu.Options{Capability: 80, Queued: true}), dtype: F32, tol: 4e-6, checks: 3}, exactOps)
	})
	t.Run("sm_90a, random schedule", func(t *testing.T) {
		conformSome(t, subject{dev: hopper(t, emu.Options{Seed: 5}), dtype: BF16, tol: 1.5e-2, checks: 2},
			func(op string) bool { return op == "Linear" || op == "Attention" || op == "PagedAttention" })
	})
	t.Run("random schedule", func(t *testing.T) {
		conformSome(t, subject{dev: emulated(t, emu.Options{Capability: 80, Seed: 7}), dtype: BF16, tol: 1.5e-2, checks: 2}, allOps)
	})
}

// The same on hardware, where there is some: go test -tags cuda. An operation by itself is
// -run '^TestHardwareAgreesWithItsReference$/^bf16$/^Linear$'; "of 4" chooses large tiles for small sizes.
func TestHardwareAgreesWithItsReference(t *testing.T) {
	first, err := OpenGPU(0)
	if errors.Is(err, driver.ErrNoGPU) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	capability := first.info.Capability
	first.Close()
	for _, c := range []struct {
		name   string
		hopper bool
		n      int
		dtype  DType
		tol    float64
		take   func(op string) bool
	}{
		{"bf16", false, 0, BF16, 1.5e-2, allOps},
		{"bf16 of 4", false, 4, BF16, 1.5e-2, allOps},
		{"f32", false, 0, F32, 2e-5, exactOps},
		{"Hopper", true, 0, BF16, 1.5e-2, allOps},
		{"Hopper of 4", true, 4, BF16, 1.5e-2, allOps},
	} {
		if c.hopper && capability != 90 {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			g := hardware(t, c.hopper, c.n)
			defer func() { g.Close() }()
			conformSome(t, subject{dev: g, dtype: c.dtype, tol: c.tol, checks: 40, reopen: func() Device {
				g.Close() // a fault ends with the context of its device
				g = hardware(t, c.hopper, c.n)
				return g
			}}, c.take)
		})
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
