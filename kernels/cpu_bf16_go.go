package kernels

import (
	"math"
	"unsafe"
)

func goWiden(dst []float32, src []uint16) {
	for i, x := range src[:len(dst)] {
		dst[i] = math.Float32frombits(uint32(x) << 16)
	}
}

func goNarrow(dst []uint16, src []float32) {
	for i, x := range src[:len(dst)] {
		dst[i] = BF16Bits(x)
	}
}

func goPairs(dst *float32, even, odd *uint16) {
	to := (*[tileCols]uint32)(unsafe.Pointer(dst))
	low, high := (*[tileCols]uint16)(unsafe.Pointer(even)), (*[tileCols]uint16)(unsafe.Pointer(odd))
	for j := range to {
		to[j] = uint32(low[j]) | uint32(high[j])<<16
	}
}

// goPaired is goProduct for panels of pairs.
func goPaired(t *tile, rows, panels int) {
	for block := range t.tiles {
		for r := range rows {
			r += block * rows
			for p := range panels {
				out := (*[16]float32)(unsafe.Add(t.c, r*t.ldc+64*p))
				var acc [16]float32
				if t.acc != 0 {
					acc = *out
				}
				for i := range t.k {
					k := i ^ 1
					if k >= t.k {
						k = i
					}
					f, row := *(*float32)(unsafe.Add(t.a, r*t.ars+4*k)), (*[32]uint16)(unsafe.Add(t.b, p*t.bps+k/2*64))
					for j := range acc {
						acc[j] += float32(f * math.Float32frombits(uint32(row[2*j+k%2])<<16))
					}
				}
				*out = acc
			}
		}
	}
}
