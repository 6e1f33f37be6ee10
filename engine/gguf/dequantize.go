package gguf

import (
	"encoding/binary"
	"math"
)

// Every decoder below turns one block into numbers in the order of operations of the reference library. A product is converted to float32
// before something is added to it, or some processors would fuse the two and round once.

func half(b []byte) float32 {
	h := binary.LittleEndian.Uint16(b)
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10&31), uint32(h&1023)
	switch exp {
	case 0: // zero or subnormal: frac · 2^−24
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*(1.0/(1<<24))))
	case 31:
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
}

func decodeF32(dst []float32, b []byte) { dst[0] = math.Float32frombits(binary.LittleEndian.Uint32(b)) }
func decodeF16(dst []float32, b []byte) { dst[0] = half(b) }
func decodeBF16(dst []float32, b []byte) {
	dst[0] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16)
}

func decodeQ8_0(dst []float32, b []byte) {
	d := half(b)
	for i, q := range b[2:34] {
		dst[i] = float32(int8(q)) * d
	}
}

func decodeQ4_0(dst []float32, b []byte) {
	d := half(b)
	for i, q := range b[2:18] {
		dst[i], dst[16+i] = d*float32(int(q&15)-8), d*float32(int(q>>4)-8)
	}
}

func decodeQ4_1(dst []float32, b []byte) {
	d, m := half(b), half(b[2:])
	for i, q := range b[4:20] {
		dst[i], dst[16+i] = float32(d*float32(q&15))+m, float32(d*float32(q>>4))+m
	}
}

func decodeQ5_0(dst []float32, b []byte) {
	d, high := half(b), binary.LittleEndian.Uint32(b[2:])
	for i, q := range b[6:22] {
		low, up := q&15|fifthBit(high, i), q>>4|fifthBit(high, 16+i)
		dst[i], dst[16+i] = d*float32(int(low)-16), d*float32(int(up)-16)
	}
}

func decodeQ5_1(dst []float32, b []byte) {
	d, m, high := half(b), half(b[2:]), binary.LittleEndian.Uint32(b[4:])
	for i, q := range b[8:24] {
		low, up := q&15|fifthBit(high, i), q>>4|fifthBit(high, 16+i)
		dst[i], dst[16+i] = float32(d*float32(low))+m, float32(d*float32(up))+m
	}
}

// fifthBit is bit i of the word, in the place of 16.
func fifthBit(high uint32, i int) byte { return byte(high>>i&1) << 4 }

// scales unpacks the eight 6-bit scales and minima of a block of Q4_K or Q5_K from 12 bytes.
func scales(b []byte) (scale, least [8]float32) {
	for i := range 4 {
		s, m, rest := b[i], b[4+i], b[8+i]
		scale[i], scale[4+i] = float32(s&63), float32(rest&15|s>>2&48)
		least[i], least[4+i] = float32(m&63), float32(rest>>4|m>>2&48)
	}
	return scale, least
}

func decodeQ4_K(dst []float32, b []byte) {
	d, dmin := half(b), half(b[2:])
	scale, least := scales(b[4:16])
	for j := range 8 {
		dj, mj := d*scale[j], dmin*least[j]
		for i, q := range b[16+j/2*32:][:32] {
			dst[32*j+i] = float32(dj*float32(q>>(j%2*4)&15)) - mj
		}
	}
}

func decodeQ5_K(dst []float32, b []byte) {
	d, dmin := half(b), half(b[2:])
	scale, least := scales(b[4:16])
	high := b[16:48]
	for j := range 8 {
		dj, mj := d*scale[j], dmin*least[j]
		for i, q := range b[48+j/2*32:][:32] {
			dst[32*j+i] = float32(dj*float32(q>>(j%2*4)&15|high[i]>>j&1<<4)) - mj
		}
	}
}

func decodeQ6_K(dst []float32, b []byte) {
	low, high, scale, d := b[:128], b[128:192], b[192:208], half(b[208:])
	for j := range 8 { // 32 elements: a half of the block, and a quarter of that
		part, k := j/4, j%4
		for i := range 32 {
			q := low[64*part+k%2*32+i]>>(k/2*4)&15 | high[32*part+i]>>(2*k)&3<<4
			n := 32*j + i
			dst[n] = float32(d*float32(int8(scale[n/16]))) * float32(int(q)-32)
		}
	}
}
