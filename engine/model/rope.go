package model

import "math"

// ropeTable is the table that Device.RoPE reads: positions rows of D/2 cosines and D/2 sines, row-major.
//
//	angle = position · f_i,   f_i = theta^(−2i/D), scaled by c.Rope
//
// It rounds where transformers does: frequencies and angles are float32, so that position 100000 turns by the same angle there and
// here. Linear: Chen 2023. Llama 3: Meta's release of Llama 3.1. YaRN: Peng 2023, §3.2 and §3.4.
func ropeTable(c Config, positions int) []float32 {
	freq, scale := ropeFrequencies(c)
	half := len(freq)
	table := make([]float32, positions*2*half)
	for p := range positions {
		row := table[p*2*half : (p+1)*2*half]
		for i, f := range freq {
			sin, cos := math.Sincos(float64(float32(p) * f))
			row[i] = float32(cos) * scale
			row[half+i] = float32(sin) * scale
		}
	}
	return table
}

// ropeFrequencies is the angle per position of each of the D/2 pairs of a head, and what cosines and sines are multiplied by.
func ropeFrequencies(c Config) (freq []float32, scale float32) {
	d, r := c.HeadDim, c.Rope
	period := make([]float32, d/2) // theta^(2i/D): positions per radian
	freq = make([]float32, d/2)
	for i := range freq {
		period[i] = float32(math.Pow(c.RopeTheta, float64(float32(2*i)/float32(d))))
		freq[i] = 1 / period[i]
	}
	factor := float32(r.Factor)
	switch r.Type {
	case "linear":
		for i := range freq {
			freq[i] /= factor
		}
	case "llama3":
		// Wavelengths that fit the original context many times stay, those that do not fit are stretched, between them a ramp.
		context := float32(r.OriginalMaxPositions)
		low, high := float32(r.LowFreqFactor), float32(r.HighFreqFactor)
		for i, f := range freq {
			wave := float32(2*math.Pi) / f
			switch {
			case wave < context/high:
			case wave > context/low:
				freq[i] = f / factor
			default:
				smooth := (context/wave - low) / (high - low)
				freq[i] = (1-smooth)*f/factor + smooth*f
			}
		}
	case "yarn":
		fast, slow := r.BetaFast, r.BetaSlow
		if fast == 0 {
			fast = 32
		}
		if slow == 0 {
			slow = 1
		}
		// The pair that turns n times over the original context.
		pair := func(n float64) float64 {
			return float64(d) * math.Log(float64(r.OriginalMaxPositions)/(n*2*math.Pi)) / (2 * math.Log(c.RopeTheta))
		}
		low, high := pair(fast), pair(slow)
		if !r.NoTruncate {
			low, high = math.Floor(low), math.Ceil(high)
		}
		low, high = max(low, 0), min(high, float64(d-1))
		if low == high {
			high += 0.001
		}
		for i, p := range period {
			ramp := min(max((float32(i)-float32(low))/float32(high-low), 0), 1)
			keep := 1 - ramp
			freq[i] = 1/(factor*p)*(1-keep) + 1/p*keep
		}
		return freq, float32(r.attentionFactor())
	}
	return freq, 1
}

// attentionFactor multiplies cosines and sines of YaRN, and so the logits of attention by its square.
func (r RopeScaling) attentionFactor() float64 {
	if r.AttentionFactor != 0 {
		return r.AttentionFactor
	}
	of := func(m float64) float64 {
		if r.Factor <= 1 {
			return 1
		}
		return 0.1*m*math.Log(r.Factor) + 1
	}
	if r.MScale != 0 && r.MScaleAllDim != 0 {
		return of(r.MScale) / of(r.MScaleAllDim)
	}
	return of(1)
}
