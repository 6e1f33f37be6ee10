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
	t.Run("random schedule", func(t *testing.T) {
		conformSome(t, subject{dev: emulated(t, emu.Options{Capability: 80, Seed: 7}), dtype: BF16, tol: 1.5e-2, checks: 2}, all)
	})
}

// The same on hardware, where there is some: go test -tags cuda.
func TestHardwareAgreesWithItsReference(t *testing.T) {
	g, err := OpenGPU(0)
	if errors.Is(err, driver.ErrNoGPU) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	conformSome(t, subject{dev: g, dtype: BF16, tol: 1.5e-2, checks: 40}, func(string) bool { return true })
	conformSome(t, subject{dev: g, dtype: F32, tol: 2e-5, checks: 40}, func(op string) bool { return !strings.Contains(op, "Attention") && op != "CopyPages" })
}
