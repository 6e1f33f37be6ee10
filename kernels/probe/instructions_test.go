package probe

import (
	"encoding/binary"
	"math"
	"math/big"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"retool/kernels/driver"
	"retool/kernels/emu"
)

func lo(v uint64) uint32  { return uint32(v) }
func fl(v uint64) float32 { return math.Float32frombits(uint32(v)) }
func fb(f float32) uint64 { return uint64(math.Float32bits(f)) }
func u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
func clampShift(v uint64, n uint32) uint64 {
	if n > 63 {
		return 0
	}
	return v >> n
}

// exactFMA rounds a·b + c once, by arithmetic without rounding.
func exactFMA(a, b, c float32) float32 {
	if math.IsNaN(float64(a)*float64(b)+float64(c)) || math.IsInf(float64(a), 0) || math.IsInf(float64(b), 0) || math.IsInf(float64(c), 0) {
		return float32(float64(a)*float64(b) + float64(c))
	}
	x := new(big.Float).SetPrec(2000).Mul(big.NewFloat(float64(a)), big.NewFloat(float64(b)))
	x.Add(x, big.NewFloat(float64(c)))
	f, _ := x.Float32()
	return f
}

// machineSpecific are instructions of which PTX leaves some results to the machine: hardware is not asked about them.
var machineSpecific = slices.Concat(
	single(edges, 0,
		"div.s32 %d, %ra, %rb;",
		"rem.u32 %d, %ra, %rb;",
		"cvta.shared.u64 %x, %a; cvta.to.shared.u64 %x, %x; and.b64 %x, %x, 0xffff;",
	),
	single(edges, 32, "ex2.approx.ftz.f32 %d, %ra;"),
)

// What the instructions on a lane's own registers give, in Go.
var laneReferences = map[string]func(a, b, c, e uint64) uint64{
	"add.s32 %d, %ra, %rb;":      func(a, b, _, _ uint64) uint64 { return uint64(lo(a) + lo(b)) },
	"sub.u32 %d, %ra, %rb;":      func(a, b, _, _ uint64) uint64 { return uint64(lo(a) - lo(b)) },
	"add.s64 %x, %a, %b;":        func(a, b, _, _ uint64) uint64 { return a + b },
	"sub.s64 %x, %a, %b;":        func(a, b, _, _ uint64) uint64 { return a - b },
	"mul.lo.s32 %d, %ra, %rb;":   func(a, b, _, _ uint64) uint64 { return uint64(lo(a) * lo(b)) },
	"mul.hi.u32 %d, %ra, %rb;":   func(a, b, _, _ uint64) uint64 { return uint64(lo(a)) * uint64(lo(b)) >> 32 },
	"mul.hi.s32 %d, %ra, %rb;":   func(a, b, _, _ uint64) uint64 { return uint64(lo(uint64(int64(int32(a)) * int64(int32(b)) >> 32))) },
	"mul.wide.s32 %x, %ra, %rb;": func(a, b, _, _ uint64) uint64 { return uint64(int64(int32(a)) * int64(int32(b))) },
	"mul.wide.u32 %x, %ra, %rb;": func(a, b, _, _ uint64) uint64 { return uint64(lo(a)) * uint64(lo(b)) },
	"mul.lo.s64 %x, %a, %b;":     func(a, b, _, _ uint64) uint64 { return a * b },
	"mul.hi.u64 %x, %a, %b;":     func(a, b, _, _ uint64) uint64 { h, _ := bits.Mul64(a, b); return h },
	"mul.hi.s64 %x, %a, %b;": func(a, b, _, _ uint64) uint64 {
		x := new(big.Int).Mul(big.NewInt(int64(a)), big.NewInt(int64(b)))
		return uint64(x.Rsh(x, 64).Int64())
	},
	"mad.lo.s32 %d, %ra, %rb, %rc;":  func(a, b, c, _ uint64) uint64 { return uint64(lo(a)*lo(b) + lo(c)) },
	"mad.wide.s32 %x, %ra, %rb, %c;": func(a, b, c, _ uint64) uint64 { return uint64(int64(int32(a))*int64(int32(b))) + c },
	"div.s32 %d, %ra, %rb;": func(a, b, _, _ uint64) uint64 {
		if lo(b) == 0 {
			return 0xffffffff
		}
		return uint64(lo(uint64(int64(int32(a)) / int64(int32(b)))))
	},
	"rem.u32 %d, %ra, %rb;": func(a, b, _, _ uint64) uint64 {
		if lo(b) == 0 {
			return uint64(lo(a))
		}
		return uint64(lo(a) % lo(b))
	},
	"min.s32 %d, %ra, %rb;": func(a, b, _, _ uint64) uint64 { return uint64(uint32(min(int32(a), int32(b)))) },
	"max.u32 %d, %ra, %rb;": func(a, b, _, _ uint64) uint64 { return uint64(max(lo(a), lo(b))) },
	"min.s64 %x, %a, %b;":   func(a, b, _, _ uint64) uint64 { return uint64(min(int64(a), int64(b))) },
	"and.b32 %d, %ra, %rb;": func(a, b, _, _ uint64) uint64 { return uint64(lo(a) & lo(b)) },
	"or.b64 %x, %a, %b;":    func(a, b, _, _ uint64) uint64 { return a | b },
	"xor.b32 %d, %ra, %rb;": func(a, b, _, _ uint64) uint64 { return uint64(lo(a) ^ lo(b)) },
	"not.b32 %d, %ra;":      func(a, _, _, _ uint64) uint64 { return uint64(^lo(a)) },
	"neg.s32 %d, %ra;":      func(a, _, _, _ uint64) uint64 { return uint64(-lo(a)) },
	"abs.s32 %d, %ra;": func(a, _, _, _ uint64) uint64 {
		if int32(a) < 0 {
			return uint64(-lo(a))
		}
		return uint64(lo(a))
	},
	"shl.b32 %d, %ra, %rb;": func(a, b, _, _ uint64) uint64 {
		if lo(b) > 31 {
			return 0
		}
		return uint64(lo(a) << lo(b))
	},
	"shl.b64 %x, %a, %rb;": func(a, b, _, _ uint64) uint64 {
		if lo(b) > 63 {
			return 0
		}
		return a << lo(b)
	},
	"shr.u32 %d, %ra, %rb;": func(a, b, _, _ uint64) uint64 { return clampShift(uint64(lo(a)), lo(b)) },
	"shr.s32 %d, %ra, %rb;": func(a, b, _, _ uint64) uint64 { return uint64(uint32(int32(a) >> min(lo(b), 31))) },
	"shr.s64 %x, %a, %rb;":  func(a, b, _, _ uint64) uint64 { return uint64(int64(a) >> min(lo(b), 63)) },
	"shf.l.wrap.b32 %d, %ra, %rb, %rc;": func(a, b, c, _ uint64) uint64 {
		return uint64(uint32((uint64(lo(b))<<32 | uint64(lo(a))) << (lo(c) & 31) >> 32))
	},
	"shf.r.clamp.b32 %d, %ra, %rb, %rc;": func(a, b, c, _ uint64) uint64 {
		return uint64(uint32((uint64(lo(b))<<32 | uint64(lo(a))) >> min(lo(c), 32)))
	},
	"lop3.b32 %d, %ra, %rb, %rc, 0x96;": func(a, b, c, _ uint64) uint64 { return uint64(lo(a) ^ lo(b) ^ lo(c)) },
	"lop3.b32 %d, %ra, %rb, %rc, 0xca;": func(a, b, c, _ uint64) uint64 { return uint64(lo(a)&lo(b) | ^lo(a)&lo(c)) },
	"prmt.b32 %d, %ra, %rb, 0x7531;": func(a, b, _, _ uint64) uint64 {
		return a>>8&0xff | a>>24&0xff<<8 | b>>8&0xff<<16 | b>>24&0xff<<24
	},
	"prmt.b32 %d, %ra, %rb, 0xb1a0;": func(a, _, _, _ uint64) uint64 {
		sign := func(n uint) uint64 { return uint64(uint8(int8(a>>(8*n)) >> 7)) }
		return a&0xff | sign(2)<<8 | a>>8&0xff<<16 | sign(3)<<24
	},
	"bfe.u32 %d, %ra, 5, 9;":      func(a, _, _, _ uint64) uint64 { return a >> 5 & 511 },
	"bfe.s32 %d, %ra, 5, 9;":      func(a, _, _, _ uint64) uint64 { return uint64(uint32(int32(lo(a)) << 18 >> 23)) },
	"bfi.b32 %d, %ra, %rb, 8, 4;": func(a, b, _, _ uint64) uint64 { return uint64(lo(b))&^0xf00 | a&15<<8 },
	"popc.b32 %d, %ra;":           func(a, _, _, _ uint64) uint64 { return uint64(bits.OnesCount32(lo(a))) },
	"clz.b32 %d, %ra;":            func(a, _, _, _ uint64) uint64 { return uint64(bits.LeadingZeros32(lo(a))) },
	"brev.b32 %d, %ra;":           func(a, _, _, _ uint64) uint64 { return uint64(bits.Reverse32(lo(a))) },
	"bfind.shiftamt.u32 %d, %ra;": func(a, _, _, _ uint64) uint64 {
		if lo(a) == 0 {
			return 0xffffffff
		}
		return uint64(bits.LeadingZeros32(lo(a)))
	},
	"setp.lt.s32 %q, %ra, %rb; selp.u32 %d, 7, 9, %q;": func(a, b, _, _ uint64) uint64 {
		if int32(a) < int32(b) {
			return 7
		}
		return 9
	},
	"setp.hs.u32 %q, %ra, %rb; selp.b32 %d, %ra, %rb, %q;":      func(a, b, _, _ uint64) uint64 { return uint64(max(lo(a), lo(b))) },
	"setp.ge.s64 %q, %a, %b; selp.b64 %x, %a, %b, %q;":          func(a, b, _, _ uint64) uint64 { return uint64(max(int64(a), int64(b))) },
	"setp.gt.and.s32 %q, %ra, %rb, !%p; selp.u32 %d, 1, 0, %q;": func(a, b, _, e uint64) uint64 { return u(int32(a) > int32(b) && e&1 == 0) },
	"setp.eq.f32 %q, %ra, %rb; selp.u32 %d, 1, 0, %q;":          func(a, b, _, _ uint64) uint64 { return u(fl(a) == fl(b)) },
	"setp.neu.f32 %q, %ra, %rb; selp.u32 %d, 1, 0, %q;":         func(a, b, _, _ uint64) uint64 { return u(!(fl(a) == fl(b))) },
	"setp.ltu.f32 %q, %ra, %rb; selp.u32 %d, 1, 0, %q;":         func(a, b, _, _ uint64) uint64 { return u(!(fl(a) >= fl(b))) },
	"mov.u32 %d, 5; @%p mov.u32 %d, %ra;": func(a, _, _, e uint64) uint64 {
		if e&1 != 0 {
			return uint64(lo(a))
		}
		return 5
	},
	"mov.u32 %d, 5; @!%p bra $skip; mov.u32 %d, %ra; $skip:": func(a, _, _, e uint64) uint64 {
		if e&1 != 0 {
			return uint64(lo(a))
		}
		return 5
	},
	"mov.b64 %x, {%rb, %ra};":                 func(a, b, _, _ uint64) uint64 { return uint64(lo(a))<<32 | uint64(lo(b)) },
	"mov.b64 {%d, %r6}, %a; mov.b32 %d, %r6;": func(a, _, _, _ uint64) uint64 { return a >> 32 },
	"mov.b32 %d, {%ha, %hb};":                 func(a, b, _, _ uint64) uint64 { return a&0xffff | b&0xffff<<16 },
	"cvt.s64.s32 %x, %ra;":                    func(a, _, _, _ uint64) uint64 { return uint64(int64(int32(a))) },
	"cvt.u64.u32 %x, %ra;":                    func(a, _, _, _ uint64) uint64 { return uint64(lo(a)) },
	"cvt.s32.s16 %d, %ha;":                    func(a, _, _, _ uint64) uint64 { return uint64(uint32(int16(a))) },
	"cvt.rn.f32.s32 %d, %ra;":                 func(a, _, _, _ uint64) uint64 { return fb(float32(int32(a))) },
	"cvt.rn.f32.u32 %d, %ra;":                 func(a, _, _, _ uint64) uint64 { return fb(float32(lo(a))) },
	"cvt.rzi.s32.f32 %d, %ra;": func(a, _, _, _ uint64) uint64 {
		switch f := float64(fl(a)); {
		case f != f:
			return 0
		case f >= 1<<31:
			return 0x7fffffff
		case f < -1<<31:
			return 0x80000000
		default:
			return uint64(uint32(int32(f)))
		}
	},
	"cvt.rni.f32.f32 %d, %ra;": func(a, _, _, _ uint64) uint64 { return fb(float32(math.RoundToEven(float64(fl(a))))) },
	"cvt.f64.f32 %x, %ra; mul.rn.f64 %x, %x, %x; cvt.rn.f32.f64 %d, %x; cvt.u64.u32 %x, %d;": func(a, _, _, _ uint64) uint64 {
		return fb(float32(float64(fl(a)) * float64(fl(a))))
	},
	"cvt.rn.bf16x2.f32 %d, %ra, %rb;": func(a, b, _, _ uint64) uint64 {
		half := func(v uint64) uint64 {
			if f := fl(v); f != f {
				return 0x7fff
			}
			// To even, by hand: the nearer of the two neighbours.
			d, low := lo(v)>>16, lo(v)&0xffff
			if low > 0x8000 || low == 0x8000 && d&1 == 1 {
				d++
			}
			return uint64(d)
		}
		return half(a)<<16 | half(b)
	},
	"add.rn.f32 %d, %ra, %rb;":      func(a, b, _, _ uint64) uint64 { return fb(fl(a) + fl(b)) },
	"sub.rn.f32 %d, %ra, %rb;":      func(a, b, _, _ uint64) uint64 { return fb(fl(a) - fl(b)) },
	"mul.rn.f32 %d, %ra, %rb;":      func(a, b, _, _ uint64) uint64 { return fb(fl(a) * fl(b)) },
	"div.rn.f32 %d, %ra, %rb;":      func(a, b, _, _ uint64) uint64 { return fb(fl(a) / fl(b)) },
	"rcp.rn.f32 %d, %ra;":           func(a, _, _, _ uint64) uint64 { return fb(1 / fl(a)) },
	"sqrt.rn.f32 %d, %ra;":          func(a, _, _, _ uint64) uint64 { return fb(float32(math.Sqrt(float64(fl(a))))) },
	"fma.rn.f32 %d, %ra, %rb, %rc;": func(a, b, c, _ uint64) uint64 { return fb(exactFMA(fl(a), fl(b), fl(c))) },
	"neg.f32 %d, %ra;":              func(a, _, _, _ uint64) uint64 { return a&0xffffffff ^ 1<<31 },
	"abs.f32 %d, %ra;":              func(a, _, _, _ uint64) uint64 { return a & 0x7fffffff },
	"max.f32 %d, %ra, %rb;": func(a, b, _, _ uint64) uint64 {
		x, y := fl(a), fl(b)
		switch {
		case x != x:
			return fb(y)
		case y != y:
			return fb(x)
		}
		return fb(max(x, y))
	},
	"add.rn.ftz.f32 %d, %ra, %rb;": func(a, b, _, _ uint64) uint64 {
		small := func(f float32) float32 {
			if math.Abs(float64(f)) < 0x1p-126 {
				return float32(math.Copysign(0, float64(f)))
			}
			return f
		}
		return fb(small(small(fl(a)) + small(fl(b))))
	},
	"ex2.approx.ftz.f32 %d, %ra;": func(a, _, _, _ uint64) uint64 {
		f := float32(math.Exp2(float64(fl(a))))
		if f < 0x1p-126 {
			f = 0
		}
		return fb(f)
	},
	"add.f64 %x, %a, %b;": func(a, b, _, _ uint64) uint64 {
		return math.Float64bits(math.Float64frombits(a) + math.Float64frombits(b))
	},
	"cvta.shared.u64 %x, %a; cvta.to.shared.u64 %x, %x; and.b64 %x, %x, 0xffff;": func(a, _, _, _ uint64) uint64 { return a & 0xffff },
}

// odd are the lanes whose last number of ramps is 1.
const odd = uint32(0x92492492)

// What the instructions of a whole warp give each lane, of ramps.
var warpReferences = map[string]func(l int) uint64{
	"shfl.sync.bfly.b32 %d, %ra, 5, 31, -1;":  func(l int) uint64 { return uint64(100 + (l ^ 5)) },
	"shfl.sync.idx.b32 %d, %ra, %rb, 31, -1;": func(l int) uint64 { return uint64(100 + l*7%32) },
	"shfl.sync.up.b32 %d|%q, %ra, 3, 0, -1; @!%q mov.u32 %d, 0;": func(l int) uint64 {
		if l < 3 {
			return 0
		}
		return uint64(100 + l - 3)
	},
	"shfl.sync.down.b32 %d, %ra, 2, 0x181f, -1;": func(l int) uint64 { // segments of 8
		if l%8 > 5 {
			return uint64(100 + l)
		}
		return uint64(100 + l + 2)
	},
	"vote.sync.ballot.b32 %d, %p, -1;":                       func(int) uint64 { return uint64(odd) },
	"vote.sync.any.pred %q, !%p, -1; selp.u32 %d, 1, 0, %q;": func(int) uint64 { return 1 },
	"vote.sync.all.pred %q, %p, -1; selp.u32 %d, 1, 0, %q;":  func(int) uint64 { return 0 },
	"match.any.sync.b32 %d, %rc, -1;":                        func(l int) uint64 { return uint64(15) << (l / 4 * 4) },
	"redux.sync.add.s32 %d, %ra, -1;":                        func(int) uint64 { return 32*100 + 31*16 },
	"redux.sync.max.u32 %d, %ra, -1;":                        func(int) uint64 { return 131 },
	"mov.u32 %d, %laneid;":                                   func(l int) uint64 { return uint64(l) },
	"mov.u32 %d, %lanemask_lt;":                              func(l int) uint64 { return 1<<l - 1 },
	"mov.u32 %d, 0; setp.lt.u32 %q, %r0, 16; @!%q bra $end; redux.sync.add.s32 %d, %ra, 0xffff; $end:": func(l int) uint64 {
		if l < 16 {
			return 16*100 + 15*8
		}
		return 0
	},
	"match.any.sync.b32 %r6, %rc, -1; shfl.sync.bfly.b32 %d, %ra, 1, 31, %r6;": func(l int) uint64 { return uint64(100 + (l ^ 1)) },
	"match.any.sync.b32 %r6, %rc, -1; redux.sync.add.s32 %d, %ra, %r6;":        func(l int) uint64 { return uint64(4*100 + 16*(l/4) + 6) },
	"loop":           func(int) uint64 { return 31*16 + 32 },
	"shared memory":  func(l int) uint64 { return uint64(100 + 31 - l) },
	"shared atomics": func(int) uint64 { return 32*100 + 31*16 },
	"bar.red.or.pred %q, 0, %p; selp.u32 %d, 1, 0, %q;": func(int) uint64 { return 1 },
	"bar.red.popc.u32 %d, 0, %p;":                       func(int) uint64 { return uint64(bits.OnesCount32(odd)) },
}

// Every instruction against Go, on inputs of several seeds.
func TestInstructionsMatchGo(t *testing.T) {
	answer := asker(t)
	for _, p := range slices.Concat(instructions, machineSpecific) {
		for seed := range uint64(6) {
			if !p.check(t, answer, p.inputs(seed)) {
				break
			}
		}
	}
}

// A fused product and sum is rounded once, where float64 alone would round twice: the product misses half a unit of the sum by less than
// a float64 can show.
func TestFMARoundsOnce(t *testing.T) {
	answer := asker(t)
	const fma = "fma.rn.f32 %d, %ra, %rb, %rc;"
	p := ask(fma, edges, 32, fma)
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		var in []byte
		for range lanes {
			k, sign := float32(1+r.IntN(362))*0x1p-23, float32(1-2*r.IntN(2))
			for _, f := range []float32{8 * (1 + k), 8 * (1 - k) * sign, 0x1p30 + 0x1p7*float32(r.IntN(1<<20)), 0} {
				in = binary.LittleEndian.AppendUint64(in, fb(f))
			}
		}
		if !p.check(t, answer, in) {
			return
		}
	}
}

// asker runs probes on an emulator.
func asker(t *testing.T) func(p probe, inputs []byte) ([]uint32, error) {
	drv := emu.New(emu.Options{Capability: 80})
	copies := driver.NewStaging(drv)
	in, err := drv.Alloc(laneBytes * lanes)
	if err != nil {
		t.Fatal(err)
	}
	out, err := drv.Alloc(laneBytes * lanes)
	if err != nil {
		t.Fatal(err)
	}
	return func(p probe, inputs []byte) ([]uint32, error) { return p.run(drv, copies, in, out, inputs) }
}

// check holds what a probe gives against its reference.
func (p probe) check(t *testing.T, answer func(probe, []byte) ([]uint32, error), inputs []byte) bool {
	t.Helper()
	got, err := answer(p, inputs)
	if err != nil {
		t.Errorf("%s: %v", p.name, err)
		return false
	}
	want := p.reference(t, inputs)
	if j := p.differ(got, want); j >= 0 {
		l := j / 8
		t.Errorf("%s: lane %d of %x has %08x, want %08x", p.name, l, inputs[laneBytes*l:laneBytes*(l+1)], got[8*l:8*l+2], want[8*l:8*l+2])
		return false
	}
	return true
}

// reference is what a probe of single instructions gives, in Go.
func (p probe) reference(t *testing.T, inputs []byte) []uint32 {
	words := make([]uint32, 8*lanes)
	for l := range lanes {
		var v uint64
		word := func(i int) uint64 { return binary.LittleEndian.Uint64(inputs[laneBytes*l+8*i:]) }
		switch {
		case laneReferences[p.name] != nil && p.in == edges:
			v = laneReferences[p.name](word(0), word(1), word(2), word(3))
		case warpReferences[p.name] != nil && p.in == ramps:
			v = warpReferences[p.name](l)
		default:
			t.Fatalf("%s: there is no reference for it", p.name)
		}
		words[8*l], words[8*l+1] = uint32(v), uint32(v>>32)
	}
	return words
}
