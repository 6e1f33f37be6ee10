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
	for _, r := range c.llama3Candidates(d, factor) {
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

// llama3Candidates are scalings that could have these divisors. All known models have the factors 1 and 4 and a power of 2 for the context
// of pre-training; with other factors, two blended divisors determine them, and with other contexts, one.
func (c Config) llama3Candidates(d []float32, factor float64) []Rope {
	var list []Rope
	add := func(context, high float64) {
		if context >= 1 && context < 1<<31 && high > 1 {
			list = append(list, Rope{
				Type: "llama3", Factor: factor, OriginalMaxPositions: int(math.Round(context)), LowFreqFactor: 1, HighFreqFactor: decimal(high),
			})
		}
	}
	for context := 1 << 6; context <= 1<<24; context *= 2 {
		add(float64(context), 4)
	}
	var turns, blends []float64 // per position, and how much of the unscaled frequency is left
	for i, x := range d {
		if x > 1 && float64(x) < factor {
			turns = append(turns, 1/(2*math.Pi*math.Pow(c.RopeTheta, 2*float64(i)/float64(c.HeadDim))))
			blends = append(blends, (1/float64(x)-1/factor)/(1-1/factor))
		}
	}
	if len(turns) > 0 {
		add((3*blends[0]+1)/turns[0], 4)
	}
	if last := len(turns) - 1; last > 0 {
		slope := (blends[0] - blends[last]) / (turns[0] - turns[last])
		offset := slope*turns[0] - blends[0]
		add(slope/offset, 1+1/offset)
	}
	return list
}

func near(a, b []float32) bool {
	for i := range a {
		if !(math.Abs(float64(a[i]-b[i])) <= 1e-4*math.Abs(float64(b[i]))) {
			return false
		}
	}
	return true
}
