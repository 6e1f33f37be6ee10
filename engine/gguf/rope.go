package gguf

import (
	"fmt"
	"math"
)

// llama3Divisors is what llama3's scaling divides each frequency by, (HeadDim/2): 1 where the wave is short against the context of
// pre-training, the factor where it is long, a blend between.
func (c Config) llama3Divisors() []float32 {
	r := c.Rope
	out := make([]float32, c.HeadDim/2)
	for i := range out {
		wave := 2 * math.Pi * math.Pow(c.RopeTheta, 2*float64(i)/float64(c.HeadDim))
		turns := float64(r.OriginalMaxPositions) / wave
		blend := (turns - r.LowFreqFactor) / (r.HighFreqFactor - r.LowFreqFactor)
		blend = max(0, min(1, blend))
		out[i] = float32(1 / ((1-blend)/r.Factor + blend))
	}
	return out
}

// llama3Rope finds the scaling whose divisors a tensor holds. Only the quotients of its three lengths matter, so the low-frequency factor
// can be taken as 1. Divisors of no such scaling are an error.
func (f *File) llama3Rope(c *Config, t Tensor) error {
	if len(t.Shape) != 1 || t.Shape[0] != c.HeadDim/2 {
		return fmt.Errorf("%s has shape %v, want [%d]", t.Name, t.Shape, c.HeadDim/2)
	}
	if c.Rope.Type != "" {
		return fmt.Errorf("%s is there, and %s.rope.scaling.type is %s: one scaling is supported", t.Name, c.Arch, c.Rope.Type)
	}
	d := make([]float32, t.Len())
	if err := f.Float32s(t, d); err != nil {
		return err
	}
	factor := float64(d[len(d)-1])
	if factor == 1 {
		factor = float64(d[0])
	}
	if !(factor >= 1) || math.IsInf(factor, 0) {
		return fmt.Errorf("%s ends in %g, the factor of a llama3 rope, which is at least 1", t.Name, factor)
	}
	for _, r := range append([]Rope{{"llama3", factor, 8192, 1, 4, 0, 0}}, c.solveLlama3(d, factor)...) {
		try := *c
		try.Rope = r
		if near(try.llama3Divisors(), d) {
			if factor != 1 {
				c.Rope = r
			}
			return nil
		}
	}
	return fmt.Errorf("%s holds divisors of no llama3 rope", t.Name)
}

// solveLlama3 is the scaling that two blended divisors determine.
func (c Config) solveLlama3(d []float32, factor float64) []Rope {
	var waves, blends []float64 // turns per position, and how much of the unscaled frequency is left
	for i, x := range d {
		if x > 1 && float64(x) < factor {
			waves = append(waves, 1/(2*math.Pi*math.Pow(c.RopeTheta, 2*float64(i)/float64(c.HeadDim))))
			blends = append(blends, (1/float64(x)-1/factor)/(1-1/factor))
		}
	}
	if len(waves) < 2 {
		return nil
	}
	last := len(waves) - 1
	slope := (blends[0] - blends[last]) / (waves[0] - waves[last])
	offset := slope*waves[0] - blends[0]
	if !(offset > 0 && slope > 0) {
		return nil
	}
	return []Rope{{"llama3", factor, int(math.Round(slope / offset)), 1, decimal(1 + 1/offset), 0, 0}}
}

func near(a, b []float32) bool {
	for i := range a {
		if !(math.Abs(float64(a[i]-b[i])) <= 1e-4*math.Abs(float64(b[i]))) {
			return false
		}
	}
	return true
}
