package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
)

// encode appends x, whole rows, in a type that is written: F32, F16, BF16 or Q8_0.
func encode(dst []byte, t TensorType, x []float32) ([]byte, error) {
	switch t {
	case F32:
		for _, v := range x {
			dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
		}
	case F16, BF16:
		bits, err := Bits16(make([]uint16, 0, len(x)), t, x)
		if err != nil {
			return dst, err
		}
		for _, b := range bits {
			dst = binary.LittleEndian.AppendUint16(dst, b)
		}
	case Q8_0:
		return encodeQ8_0(dst, x)
	default:
		return dst, fmt.Errorf("%v is not written (F32, F16, BF16 and Q8_0 are)", t)
	}
	return dst, nil
}

// Bits16 appends x in F16 or BF16. A number beyond F16 is an error.
func Bits16(dst []uint16, t TensorType, x []float32) ([]uint16, error) {
	for _, v := range x {
		if t == BF16 {
			dst = append(dst, brainBits(v))
			continue
		}
		h := halfBits(v)
		if h&0x7fff == 0x7c00 && !math.IsInf(float64(v), 0) {
			return dst, fmt.Errorf("%g is beyond F16, whose largest number is 65504: choose bf16 or f32", v)
		}
		dst = append(dst, h)
	}
	return dst, nil
}

// encodeQ8_0 makes blocks of 32: a scale in F16, the largest magnitude / 127, and each number divided by the unrounded scale, rounded with
// halves away from zero.
func encodeQ8_0(dst []byte, x []float32) ([]byte, error) {
	for ; len(x) >= 32; x = x[32:] {
		var most float32
		for _, v := range x[:32] {
			if v != v || math.IsInf(float64(v), 0) {
				return dst, fmt.Errorf("%g cannot be stored as Q8_0: choose bf16 or f32", v)
			}
			most = max(most, float32(math.Abs(float64(v))))
		}
		d := most / 127
		h := halfBits(d)
		if h == 0x7c00 {
			return dst, fmt.Errorf("%g is beyond Q8_0, whose scale is an F16: choose bf16 or f32", most)
		}
		dst = binary.LittleEndian.AppendUint16(dst, h)
		var inverse float32
		if d != 0 {
			inverse = 1 / d
		}
		for _, v := range x[:32] {
			q := math.Round(float64(v * inverse))
			dst = append(dst, byte(int8(max(-127, min(127, q)))))
		}
	}
	return dst, nil
}

// halfBits rounds to IEEE binary16, ties to even. What is too large becomes an infinity; a NaN stays one.
func halfBits(x float32) uint16 {
	b := math.Float32bits(x)
	sign, abs := uint16(b>>16&0x8000), b&0x7fffffff
	switch {
	case abs > 0x7f800000:
		return sign | 0x7e00 | uint16(abs>>13&0x3ff)
	case abs >= 0x47800000: // 2^16 and above
		return sign | 0x7c00
	case abs >= 0x38800000: // 2^−14 and above: normal, unless it rounds up to infinity
		return sign | uint16((abs-112<<23+0xfff+abs>>13&1)>>13)
	}
	// A multiple of 2^−24, the distance of subnormals.
	return sign | uint16(math.RoundToEven(float64(math.Float32frombits(abs))*(1<<24)))
}

// brainBits rounds to bf16, ties to even; a NaN stays one.
func brainBits(x float32) uint16 {
	b := math.Float32bits(x)
	if x != x {
		return uint16(b>>16) | 1<<6 // the quiet bit, for the payload may vanish
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}
