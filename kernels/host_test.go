package kernels

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"retool/kernels/emu"
)

// Whatever kind of number the host gives and takes, and wherever a view lies, both devices keep the same: float32 is rounded to bf16 once,
// bf16 is exact in both types, and what is beside a view stays as it was.
func TestDoorsOfBothDevicesConvertAlike(t *testing.T) {
	floats := []float32{1.00390625, -3.14159265, 1e-40, float32(math.Inf(-1)), 0, 7}
	halves := []uint16{0x3f80, 0xbf81, 0x0001, 0x7f80, 0x8000, 0x40e0}
	results := map[string][]string{}
	for name, d := range map[string]Device{"cpu": newCPU(1, goSIMD), "gpu": emulated(t, emu.Options{Capability: 80})} {
		for _, dtype := range []DType{F32, BF16} {
			for _, src := range []any{floats, halves} {
				for _, view := range []func(x Tensor) Tensor{
					func(x Tensor) Tensor { return x.Rows(1, 3).Cols(0, 3) },
					func(x Tensor) Tensor { return x.Rows(0, 2).Cols(1, 4) },
				} {
					x := d.Alloc(dtype, 3, 4)
					d.Upload(view(x), src)
					f, h := make([]float32, 12), make([]uint16, 6)
					d.Download(f, x)
					d.Download(h, view(x))
					results[name] = append(results[name], fmt.Sprint(dtype, f, h))
				}
			}
		}
		ints := d.Alloc(I32, 2, 3)
		d.Upload(ints, []int32{1, -2, 3, 4, 5, 6})
		got := make([]int32, 4)
		d.Download(got, ints.Cols(1, 3))
		results[name] = append(results[name], fmt.Sprint(got))
	}
	if !slices.Equal(results["cpu"], results["gpu"]) {
		t.Errorf("the CPU has\n%q\nthe GPU\n%q", results["cpu"], results["gpu"])
	}
	if want := "[-2 3 5 6]"; results["cpu"][len(results["cpu"])-1] != want {
		t.Errorf("integers are %s, want %s", results["cpu"][len(results["cpu"])-1], want)
	}
	if want := "bf16 [0 0 0 0 1 -3.140625 9.1835e-41 0 -Inf 0 7 0] [16256 49225 1 65408 0 16608]"; results["cpu"][4] != want {
		t.Errorf("floats in bf16 are %s, want %s", results["cpu"][4], want)
	}
}

// A view of nothing may lie beyond its memory.
func TestDoorsTakeViewsOfNothing(t *testing.T) {
	for _, d := range []Device{newCPU(1, goSIMD), emulated(t, emu.Options{Capability: 80})} {
		for _, x := range []Tensor{d.Alloc(F32, 0, 8).Cols(4, 6), d.Alloc(BF16, 3, 8).Rows(3, 3).Cols(4, 6), d.Alloc(I32, 0)} {
			var src, dst any = []float32{}, []float32{}
			if x.DType() == I32 {
				src, dst = []int32{}, []int32{}
			}
			d.Upload(x, src)
			d.Download(dst, x)
		}
	}
}
