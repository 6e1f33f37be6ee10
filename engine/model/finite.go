package model

import (
	"iter"
	"slices"

	"retool/kernels"
)

// parameters are those of w under the names of files, an adapter's too, in the order of the forward pass.
func (w *Weights) parameters() iter.Seq2[string, kernels.Tensor] {
	return func(yield func(string, kernels.Tensor) bool) {
		for name, t := range w.Named() {
			if !yield(name, t) {
				return
			}
		}
		for _, m := range w.modules() {
			for _, low := range m.p.low {
				if !yield(low.name+".lora_A", low.A) || !yield(low.name+".lora_B", low.B) {
					return
				}
			}
		}
	}
}

// WeightFault names the parameter that is not finite and that a forward pass meets first; "": all are finite. Of a divided model it looks
// at one unit, whose weights a pass has just used, of others at all, whatever unit is. It reads all of them from the device: not for
// every step.
func (m *Model) WeightFault(unit int) string {
	if m.div != nil && m.div.in[m.div.place(unit)] != unit {
		return "" // another has its place already
	}
	const most = 1 << 22
	exact, half := make([]float32, 0, most), make([]uint16, 0, most)
	for name, t := range m.W.parameters() {
		if m.div != nil && m.unitOf(name, t) != unit {
			continue
		}
		flat := t.Reshape(t.Len())
		for from := 0; from < t.Len(); from += most {
			part := flat.Rows(from, min(t.Len(), from+most))
			if t.DType() == kernels.BF16 {
				m.dev.Download(half[:part.Len()], part)
				if slices.ContainsFunc(half[:part.Len()], func(x uint16) bool { return x&0x7f80 == 0x7f80 }) {
					return name
				}
				continue
			}
			m.dev.Download(exact[:part.Len()], part)
			if slices.ContainsFunc(exact[:part.Len()], notFinite) {
				return name
			}
		}
	}
	return ""
}

// GradientFault names the parameter whose gradient in G has a sum of squares that is not finite, and which the backward pass came to first;
// "": there is none. Of a divided model it looks at one unit, whose gradient a pass has just made, of others at all, whatever unit is.
func (m *Model) GradientFault(unit int) (string, error) {
	if err := m.SettleGrad(); err != nil {
		return "", err
	}
	var names []string
	var tensors []kernels.Tensor
	tiles := 0
	for name, t := range m.G.parameters() {
		if m.div != nil && m.unitOf(name, t) != unit {
			continue
		}
		names, tensors, tiles = append(names, name), append(tensors, t.Reshape(t.Len())), tiles+kernels.SumTiles(t.Len())
	}
	if tiles == 0 {
		return "", nil
	}
	sums := m.dev.Alloc(kernels.F32, tiles)
	defer m.dev.Free(sums)
	err := m.dev.Do(func() {
		at := 0
		for _, t := range tensors {
			n := kernels.SumTiles(t.Len())
			m.dev.SumSquares(sums.Rows(at, at+n), t)
			at += n
		}
	})
	if err != nil {
		return "", err
	}
	read := make([]float32, tiles)
	m.dev.Download(read, sums)
	var faults []string
	for i, t := range tensors {
		n := kernels.SumTiles(t.Len())
		if slices.ContainsFunc(read[:n], notFinite) {
			faults = append(faults, names[i])
		}
		read = read[n:]
	}
	if len(faults) == 0 {
		return "", nil
	}
	last := faults[len(faults)-1] // in the order of the forward pass: the first of the backward pass
	if m.Config.Tied && last == normName && faults[0] == embedName {
		return embedName, nil // which is the head too
	}
	return last, nil
}

func notFinite(x float32) bool { return x-x != 0 }
