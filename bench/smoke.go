package bench

import (
	"fmt"
	"math"

	"retool/kernels"
)

// A SmokeRow is a case that was run once and compared with the CPU.
type SmokeRow struct {
	Op    string  `json:"op"`
	Shape string  `json:"shape"`
	Error float64 `json:"error"` // ‖GPU − CPU‖ / ‖CPU‖ of what it wrote
	OK    bool    `json:"ok"`
}

// smokeTolerance is what bf16 outputs may be off by.
const smokeTolerance = 0.02

// Smoke runs each case once on a GPU, the hardware or the emulator, and on the CPU in float32 from the same numbers.
func Smoke(dev *kernels.GPU, cases []Case, o GPUOptions) ([]SmokeRow, error) {
	cpu := kernels.NewCPU(1)
	defer cpu.Close()
	var rows []SmokeRow
	for _, c := range cases {
		if !o.wants(c) {
			continue
		}
		once := func(dev kernels.Device, dtype kernels.DType) ([]float32, error) {
			w, err := prepare(dev, dtype, normals(), c)
			defer w.close()
			if err == nil {
				err = dev.Do(w.run)
			}
			if err != nil {
				return nil, fmt.Errorf("bench: %s %s: %w", c.Op, c.Shape(), err)
			}
			x := make([]float32, w.out.Len())
			if w.out.DType() == kernels.I32 {
				ids := make([]int32, len(x))
				dev.Download(ids, w.out)
				for i, id := range ids {
					x[i] = float32(id)
				}
				return x, nil
			}
			dev.Download(x, w.out)
			return x, nil
		}
		want, err := once(cpu, kernels.F32)
		if err != nil {
			return rows, err
		}
		got, err := once(dev, kernels.BF16)
		if err != nil {
			return rows, err
		}
		var off, size float64
		for i := range want {
			off += math.Pow(float64(got[i])-float64(want[i]), 2)
			size += math.Pow(float64(want[i]), 2)
		}
		e := math.Sqrt(off / size)
		rows = append(rows, SmokeRow{Op: c.Op, Shape: c.Shape(), Error: e, OK: e < smokeTolerance})
	}
	return rows, nil
}
