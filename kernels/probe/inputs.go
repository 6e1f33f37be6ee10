package probe

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
)

// kinds of inputs: four words of 64 bits a lane.
type kind int

const (
	words  kind = iota // any
	floats             // float32, of all sizes
	pairs              // two bf16 of about unit size
	edges              // any, small numbers, floats of ordinary size, and the ends of ranges
	ramps              // numbers that tell the lanes apart: 100 + lane, 7·lane mod 32, lane / 4, bit 0 of lane mod 3
)

// inputs are the same on every machine.
func (p probe) inputs(seed uint64) []byte {
	r := rand.New(rand.NewPCG(uint64(len(p.name)), uint64(p.name[0])+seed<<8))
	b := make([]byte, 0, laneBytes*lanes)
	for l := range uint64(lanes) {
		for i := range 4 {
			var x uint64
			switch p.in {
			case words:
				x = r.Uint64()
			case floats:
				x = uint64(math.Float32bits(float32(math.Ldexp(r.NormFloat64(), r.IntN(30)-15))))
			case pairs:
				one := func() uint64 { return uint64(math.Float32bits(float32(r.NormFloat64())) >> 16) }
				x = one()<<16 | one()
			case edges:
				x = edge(r)
			case ramps:
				x = [4]uint64{100 + l, l * 7 % 32, l / 4, l % 3 & 1}[i]
			}
			b = binary.LittleEndian.AppendUint64(b, x)
		}
	}
	return b
}

// ends are of ranges of integers and floats.
var ends = []uint64{
	0, 1, 2, 31, 32, 33, 0x7fffffff, 0x80000000, 0xffffffff, 1 << 63, math.MaxUint64, 0x3f800000, 0x80000001, 0x7f800000, 0xff800000,
	0x4f000000, 0xcf000000, 0x4f800000, 0x7fc00000, // ±2³¹, 2³² and NaN, as floats
}

func edge(r *rand.Rand) uint64 {
	v := r.Uint64()
	switch r.IntN(16) {
	case 0, 1, 2:
		return ends[v%uint64(len(ends))]
	case 3, 4:
		return v % 64
	case 5, 6, 7:
		return uint64(math.Float32bits(float32(int32(v)) / (1 << 20)))
	}
	return v
}
