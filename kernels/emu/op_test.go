package emu

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strings"
	"testing"

	"retool/kernels/driver"
)

// laneKernel is an entry in which every thread reads four 64-bit words %a, %b, %c, %e (%ra … their low halves, %ha, %hb their low 16 bits, %p
// the lowest bit of %e), runs body, and stores %x0; what body leaves in %r0 goes there if it does not name %x0.
func laneKernel(body string) string {
	if !strings.Contains(body, "%x0") {
		body += "\n\tcvt.u64.u32 %x0, %r0;"
	}
	return `.version 7.0
.target sm_80
.address_size 64
.visible .entry k(.param .u64 k_0, .param .u64 k_1)
{
	.reg .pred %p<4>;
	.reg .b16 %h<4>;
	.reg .b32 %r<10>;
	.reg .b64 %x<10>;
	.shared .align 16 .b8 box[2048];
	ld.param.u64 %x1, [k_0];
	ld.param.u64 %x2, [k_1];
	mov.u32 %r9, %tid.x;
	mul.wide.u32 %x3, %r9, 32;
	add.s64 %x1, %x1, %x3;
	mul.wide.u32 %x3, %r9, 8;
	add.s64 %x2, %x2, %x3;
	ld.global.v2.u64 {%x4, %x5}, [%x1];
	ld.global.v2.u64 {%x6, %x7}, [%x1+16];
	cvt.u32.u64 %r1, %x4;
	cvt.u32.u64 %r2, %x5;
	cvt.u32.u64 %r3, %x6;
	cvt.u32.u64 %r4, %x7;
	cvt.u16.u64 %h1, %x4;
	cvt.u16.u64 %h2, %x5;
	and.b32 %r5, %r4, 1;
	setp.ne.s32 %p1, %r5, 0;
	mov.u64 %x0, 0;
` + strings.NewReplacer("%ra", "%r1", "%rb", "%r2", "%rc", "%r3", "%re", "%r4", "%ha", "%h1", "%hb", "%h2", "%a", "%x4", "%b", "%x5", "%c", "%x6", "%e", "%x7", "%p", "%p1", "%q", "%p2").Replace(body) + `
	st.global.u64 [%x2], %x0;
	ret;
}
`
}

// lane runs body on one warp and returns what each lane stored.
func lane(t *testing.T, body string, in [lanes][4]uint64) (out [lanes]uint64, err error) {
	t.Helper()
	b := newBench(t, Options{}, []byte(laneKernel(body)))
	buf := make([]byte, 0, lanes*32)
	for _, l := range in {
		for _, v := range l {
			buf = binary.LittleEndian.AppendUint64(buf, v)
		}
	}
	p, q := b.bytes("in", buf), b.bytes("out", make([]byte, lanes*8))
	if err := b.launch("k", 1, lanes, 0, p, q); err != nil {
		return out, err
	}
	got := make([]byte, lanes*8)
	b.read(got, q)
	for i := range out {
		out[i] = binary.LittleEndian.Uint64(got[8*i:])
	}
	return out, nil
}

// words draws operands: random bits, small numbers, and the ends of ranges.
func words(seed uint64) (in [lanes][4]uint64) {
	edge := []uint64{0, 1, 2, 31, 32, 33, 0x7fffffff, 0x80000000, 0xffffffff, 1 << 63, math.MaxUint64, 0x3f800000, 0x80000001, 0x7f800000, 0xff800000}
	s := seed
	for l := range in {
		for i := range in[l] {
			s = s*6364136223846793005 + 1442695040888963407
			v := s ^ s>>33
			switch v >> 60 {
			case 0, 1, 2:
				v = edge[v%uint64(len(edge))]
			case 3, 4:
				v %= 64
			case 5, 6, 7: // a float of ordinary size
				v = uint64(math.Float32bits(float32(int32(v)) / (1 << 20)))
			}
			in[l][i] = v
		}
	}
	return in
}

func lo(v uint64) uint32  { return uint32(v) }
func fl(v uint64) float32 { return math.Float32frombits(uint32(v)) }
func fb(f float32) uint64 { return uint64(math.Float32bits(f)) }
func u(b bool) uint64     { return b2u(b) }
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

// Every instruction on registers against Go. A NaN equals a NaN.
func TestInstructionsMatchGo(t *testing.T) {
	for _, c := range []struct {
		body  string
		float bool
		want  func(a, b, c, e uint64) uint64
	}{
		{"add.s32 %r0, %ra, %rb;", false, func(a, b, _, _ uint64) uint64 { return uint64(lo(a) + lo(b)) }},
		{"sub.u32 %r0, %ra, %rb;", false, func(a, b, _, _ uint64) uint64 { return uint64(lo(a) - lo(b)) }},
		{"add.s64 %x0, %a, %b;", false, func(a, b, _, _ uint64) uint64 { return a + b }},
		{"sub.s64 %x0, %a, %b;", false, func(a, b, _, _ uint64) uint64 { return a - b }},
		{"mul.lo.s32 %r0, %ra, %rb;", false, func(a, b, _, _ uint64) uint64 { return uint64(lo(a) * lo(b)) }},
		{"mul.hi.u32 %r0, %ra, %rb;", false, func(a, b, _, _ uint64) uint64 { return uint64(lo(a)) * uint64(lo(b)) >> 32 }},
		{"mul.hi.s32 %r0, %ra, %rb;", false, func(a, b, _, _ uint64) uint64 { return uint64(lo(uint64(int64(int32(a)) * int64(int32(b)) >> 32))) }},
		{"mul.wide.s32 %x0, %ra, %rb;", false, func(a, b, _, _ uint64) uint64 { return uint64(int64(int32(a)) * int64(int32(b))) }},
		{"mul.wide.u32 %x0, %ra, %rb;", false, func(a, b, _, _ uint64) uint64 { return uint64(lo(a)) * uint64(lo(b)) }},
		{"mul.lo.s64 %x0, %a, %b;", false, func(a, b, _, _ uint64) uint64 { return a * b }},
		{"mul.hi.u64 %x0, %a, %b;", false, func(a, b, _, _ uint64) uint64 { h, _ := bits.Mul64(a, b); return h }},
		{"mul.hi.s64 %x0, %a, %b;", false, func(a, b, _, _ uint64) uint64 {
			x := new(big.Int).Mul(big.NewInt(int64(a)), big.NewInt(int64(b)))
			return uint64(x.Rsh(x, 64).Int64())
		}},
		{"mad.lo.s32 %r0, %ra, %rb, %rc;", false, func(a, b, c, _ uint64) uint64 { return uint64(lo(a)*lo(b) + lo(c)) }},
		{"mad.wide.s32 %x0, %ra, %rb, %c;", false, func(a, b, c, _ uint64) uint64 { return uint64(int64(int32(a))*int64(int32(b))) + c }},
		{"div.s32 %r0, %ra, %rb;", false, func(a, b, _, _ uint64) uint64 {
			if lo(b) == 0 {
				return 0xffffffff
			}
			return uint64(lo(uint64(int64(int32(a)) / int64(int32(b)))))
		}},
		{"rem.u32 %r0, %ra, %rb;", false, func(a, b, _, _ uint64) uint64 {
			if lo(b) == 0 {
				return uint64(lo(a))
			}
			return uint64(lo(a) % lo(b))
		}},
		{"min.s32 %r0, %ra, %rb;", false, func(a, b, _, _ uint64) uint64 { return uint64(uint32(min(int32(a), int32(b)))) }},
		{"max.u32 %r0, %ra, %rb;", false, func(a, b, _, _ uint64) uint64 { return uint64(max(lo(a), lo(b))) }},
		{"min.s64 %x0, %a, %b;", false, func(a, b, _, _ uint64) uint64 { return uint64(min(int64(a), int64(b))) }},
		{"and.b32 %r0, %ra, %rb;", false, func(a, b, _, _ uint64) uint64 { return uint64(lo(a) & lo(b)) }},
		{"or.b64 %x0, %a, %b;", false, func(a, b, _, _ uint64) uint64 { return a | b }},
		{"xor.b32 %r0, %ra, %rb;", false, func(a, b, _, _ uint64) uint64 { return uint64(lo(a) ^ lo(b)) }},
		{"not.b32 %r0, %ra;", false, func(a, _, _, _ uint64) uint64 { return uint64(^lo(a)) }},
		{"neg.s32 %r0, %ra;", false, func(a, _, _, _ uint64) uint64 { return uint64(-lo(a)) }},
		{"abs.s32 %r0, %ra;", false, func(a, _, _, _ uint64) uint64 {
			if int32(a) < 0 {
				return uint64(-lo(a))
			}
			return uint64(lo(a))
		}},
		{"shl.b32 %r0, %ra, %rb;", false, func(a, b, _, _ uint64) uint64 {
			if lo(b) > 31 {
				return 0
			}
			return uint64(lo(a) << lo(b))
		}},
		{"shl.b64 %x0, %a, %rb;", false, func(a, b, _, _ uint64) uint64 {
			if lo(b) > 63 {
				return 0
			}
			return a << lo(b)
		}},
		{"shr.u32 %r0, %ra, %rb;", false, func(a, b, _, _ uint64) uint64 { return clampShift(uint64(lo(a)), lo(b)) }},
		{"shr.s32 %r0, %ra, %rb;", false, func(a, b, _, _ uint64) uint64 { return uint64(uint32(int32(a) >> min(lo(b), 31))) }},
		{"shr.s64 %x0, %a, %rb;", false, func(a, b, _, _ uint64) uint64 { return uint64(int64(a) >> min(lo(b), 63)) }},
		{"shf.l.wrap.b32 %r0, %ra, %rb, %rc;", false, func(a, b, c, _ uint64) uint64 {
			return uint64(uint32((uint64(lo(b))<<32 | uint64(lo(a))) << (lo(c) & 31) >> 32))
		}},
		{"shf.r.clamp.b32 %r0, %ra, %rb, %rc;", false, func(a, b, c, _ uint64) uint64 {
			return uint64(uint32((uint64(lo(b))<<32 | uint64(lo(a))) >> min(lo(c), 32)))
		}},
		{"lop3.b32 %r0, %ra, %rb, %rc, 0x96;", false, func(a, b, c, _ uint64) uint64 { return uint64(lo(a) ^ lo(b) ^ lo(c)) }},
		{"lop3.b32 %r0, %ra, %rb, %rc, 0xca;", false, func(a, b, c, _ uint64) uint64 { return uint64(lo(a)&lo(b) | ^lo(a)&lo(c)) }},
		{"prmt.b32 %r0, %ra, %rb, 0x7531;", false, func(a, b, _, _ uint64) uint64 {
			return a>>8&0xff | a>>24&0xff<<8 | b>>8&0xff<<16 | b>>24&0xff<<24
		}},
		{"prmt.b32 %r0, %ra, %rb, 0xb1a0;", false, func(a, _, _, _ uint64) uint64 {
			sign := func(n uint) uint64 { return uint64(uint8(int8(a>>(8*n)) >> 7)) }
			return a&0xff | sign(2)<<8 | a>>8&0xff<<16 | sign(3)<<24
		}},
		{"bfe.u32 %r0, %ra, 5, 9;", false, func(a, _, _, _ uint64) uint64 { return a >> 5 & 511 }},
		{"bfe.s32 %r0, %ra, 5, 9;", false, func(a, _, _, _ uint64) uint64 { return uint64(uint32(int32(lo(a)) << 18 >> 23)) }},
		{"bfi.b32 %r0, %ra, %rb, 8, 4;", false, func(a, b, _, _ uint64) uint64 { return uint64(lo(b))&^0xf00 | a&15<<8 }},
		{"popc.b32 %r0, %ra;", false, func(a, _, _, _ uint64) uint64 { return uint64(bits.OnesCount32(lo(a))) }},
		{"clz.b32 %r0, %ra;", false, func(a, _, _, _ uint64) uint64 { return uint64(bits.LeadingZeros32(lo(a))) }},
		{"brev.b32 %r0, %ra;", false, func(a, _, _, _ uint64) uint64 { return uint64(bits.Reverse32(lo(a))) }},
		{"bfind.shiftamt.u32 %r0, %ra;", false, func(a, _, _, _ uint64) uint64 {
			if lo(a) == 0 {
				return 0xffffffff
			}
			return uint64(bits.LeadingZeros32(lo(a)))
		}},
		{"setp.lt.s32 %q, %ra, %rb;\n\tselp.u32 %r0, 7, 9, %q;", false, func(a, b, _, _ uint64) uint64 {
			if int32(a) < int32(b) {
				return 7
			}
			return 9
		}},
		{"setp.hs.u32 %q, %ra, %rb;\n\tselp.b32 %r0, %ra, %rb, %q;", false, func(a, b, _, _ uint64) uint64 { return uint64(max(lo(a), lo(b))) }},
		{"setp.ge.s64 %q, %a, %b;\n\tselp.b64 %x0, %a, %b, %q;", false, func(a, b, _, _ uint64) uint64 { return uint64(max(int64(a), int64(b))) }},
		{"setp.gt.and.s32 %q, %ra, %rb, !%p;\n\tselp.u32 %r0, 1, 0, %q;", false, func(a, b, _, e uint64) uint64 { return u(int32(a) > int32(b) && e&1 == 0) }},
		{"setp.eq.f32 %q, %ra, %rb;\n\tselp.u32 %r0, 1, 0, %q;", false, func(a, b, _, _ uint64) uint64 { return u(fl(a) == fl(b)) }},
		{"setp.neu.f32 %q, %ra, %rb;\n\tselp.u32 %r0, 1, 0, %q;", false, func(a, b, _, _ uint64) uint64 { return u(!(fl(a) == fl(b))) }},
		{"setp.ltu.f32 %q, %ra, %rb;\n\tselp.u32 %r0, 1, 0, %q;", false, func(a, b, _, _ uint64) uint64 { return u(!(fl(a) >= fl(b))) }},
		{"mov.u32 %r0, 5;\n\t@%p mov.u32 %r0, %ra;", false, func(a, _, _, e uint64) uint64 {
			if e&1 != 0 {
				return uint64(lo(a))
			}
			return 5
		}},
		{"mov.u32 %r0, 5;\n\t@!%p bra $skip;\n\tmov.u32 %r0, %ra;\n$skip:", false, func(a, _, _, e uint64) uint64 {
			if e&1 != 0 {
				return uint64(lo(a))
			}
			return 5
		}},
		{"mov.b64 %x0, {%rb, %ra};", false, func(a, b, _, _ uint64) uint64 { return uint64(lo(a))<<32 | uint64(lo(b)) }},
		{"mov.b64 {%r0, %r6}, %a;\n\tmov.b32 %r0, %r6;", false, func(a, _, _, _ uint64) uint64 { return a >> 32 }},
		{"mov.b32 %r0, {%ha, %hb};", false, func(a, b, _, _ uint64) uint64 { return a&0xffff | b&0xffff<<16 }},
		{"cvt.s64.s32 %x0, %ra;", false, func(a, _, _, _ uint64) uint64 { return uint64(int64(int32(a))) }},
		{"cvt.u64.u32 %x0, %ra;", false, func(a, _, _, _ uint64) uint64 { return uint64(lo(a)) }},
		{"cvt.s32.s16 %r0, %ha;", false, func(a, _, _, _ uint64) uint64 { return uint64(uint32(int16(a))) }},
		{"cvt.rn.f32.s32 %r0, %ra;", true, func(a, _, _, _ uint64) uint64 { return fb(float32(int32(a))) }},
		{"cvt.rn.f32.u32 %r0, %ra;", true, func(a, _, _, _ uint64) uint64 { return fb(float32(lo(a))) }},
		{"cvt.rzi.s32.f32 %r0, %ra;", false, func(a, _, _, _ uint64) uint64 {
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
		}},
		{"cvt.rni.f32.f32 %r0, %ra;", true, func(a, _, _, _ uint64) uint64 { return fb(float32(math.RoundToEven(float64(fl(a))))) }},
		{"cvt.f64.f32 %x0, %ra;\n\tmul.rn.f64 %x0, %x0, %x0;\n\tcvt.rn.f32.f64 %r0, %x0;\n\tcvt.u64.u32 %x0, %r0;", true, func(a, _, _, _ uint64) uint64 { return fb(float32(float64(fl(a)) * float64(fl(a)))) }},
		{"cvt.rn.bf16x2.f32 %r0, %ra, %rb;", false, func(a, b, _, _ uint64) uint64 {
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
		}},
		{"add.rn.f32 %r0, %ra, %rb;", true, func(a, b, _, _ uint64) uint64 { return fb(fl(a) + fl(b)) }},
		{"sub.rn.f32 %r0, %ra, %rb;", true, func(a, b, _, _ uint64) uint64 { return fb(fl(a) - fl(b)) }},
		{"mul.rn.f32 %r0, %ra, %rb;", true, func(a, b, _, _ uint64) uint64 { return fb(fl(a) * fl(b)) }},
		{"div.rn.f32 %r0, %ra, %rb;", true, func(a, b, _, _ uint64) uint64 { return fb(fl(a) / fl(b)) }},
		{"rcp.rn.f32 %r0, %ra;", true, func(a, _, _, _ uint64) uint64 { return fb(1 / fl(a)) }},
		{"sqrt.rn.f32 %r0, %ra;", true, func(a, _, _, _ uint64) uint64 { return fb(float32(math.Sqrt(float64(fl(a))))) }},
		{"fma.rn.f32 %r0, %ra, %rb, %rc;", true, func(a, b, c, _ uint64) uint64 { return fb(exactFMA(fl(a), fl(b), fl(c))) }},
		{"neg.f32 %r0, %ra;", true, func(a, _, _, _ uint64) uint64 { return a&0xffffffff ^ 1<<31 }},
		{"abs.f32 %r0, %ra;", true, func(a, _, _, _ uint64) uint64 { return a & 0x7fffffff }},
		{"max.f32 %r0, %ra, %rb;", true, func(a, b, _, _ uint64) uint64 {
			x, y := fl(a), fl(b)
			switch {
			case x != x:
				return fb(y)
			case y != y:
				return fb(x)
			}
			return fb(max(x, y))
		}},
		{"add.rn.ftz.f32 %r0, %ra, %rb;", true, func(a, b, _, _ uint64) uint64 {
			small := func(f float32) float32 {
				if math.Abs(float64(f)) < 0x1p-126 {
					return float32(math.Copysign(0, float64(f)))
				}
				return f
			}
			return fb(small(small(fl(a)) + small(fl(b))))
		}},
		{"ex2.approx.ftz.f32 %r0, %ra;", true, func(a, _, _, _ uint64) uint64 {
			f := float32(math.Exp2(float64(fl(a))))
			if f < 0x1p-126 {
				f = 0
			}
			return fb(f)
		}},
		{"add.f64 %x0, %a, %b;", true, func(a, b, _, _ uint64) uint64 {
			return math.Float64bits(math.Float64frombits(a) + math.Float64frombits(b))
		}},
		{"cvta.shared.u64 %x0, %a;\n\tcvta.to.shared.u64 %x0, %x0;\n\tand.b64 %x0, %x0, 0xffff;", false, func(a, _, _, _ uint64) uint64 { return a & 0xffff }},
	} {
		for seed := uint64(1); seed <= 6; seed++ {
			in := words(seed)
			out, err := lane(t, c.body, in)
			if err != nil {
				t.Errorf("%s: %v", c.body, err)
				break
			}
			for l, v := range in {
				want, got := c.want(v[0], v[1], v[2], v[3]), out[l]
				if got == want {
					continue
				}
				wide := strings.Contains(c.body, "%x0, %a")
				if c.float && (!wide && fl(got) != fl(got) && fl(want) != fl(want) || wide && math.IsNaN(math.Float64frombits(got)) && math.IsNaN(math.Float64frombits(want))) {
					continue
				}
				t.Errorf("%s of %x: %#x, want %#x", c.body, v, got, want)
				break
			}
		}
	}
}

// fma32 rounds once where float64 alone would round twice.
func TestFMARoundsOnce(t *testing.T) {
	s := uint64(1)
	next := func() float32 {
		s = s*6364136223846793005 + 1442695040888963407
		return math.Float32frombits(uint32(s>>33)&0x807fffff | (110+uint32(s>>20)%34)<<23)
	}
	for range 20000 {
		a, b, c := next(), next(), next()
		if got, want := fma32(a, b, c), exactFMA(a, b, c); got != want {
			t.Fatalf("fma(%v, %v, %v) = %v, want %v", a, b, c, got, want)
		}
	}
	// The product's tail decides a tie of the sum.
	a, b, c := float32(1+0x1p-12), float32(1+0x1p-12), float32(0x1p24+2)
	if got, want := fma32(a, b, c), exactFMA(a, b, c); got != want {
		t.Fatalf("%v, want %v", got, want)
	}
}

func TestHalfFloatsRoundTrip(t *testing.T) {
	for v := range uint64(1 << 16) {
		if f := fromF16(v); f == f && toF16(f) != v {
			t.Fatalf("f16 %#x becomes %#x", v, toF16(f))
		}
	}
}

// Instructions of a whole warp.
func TestWarpInstructions(t *testing.T) {
	var in [lanes][4]uint64
	for l := range in {
		in[l] = [4]uint64{uint64(100 + l), uint64(l * 7 % 32), uint64(l / 4), uint64(l % 3 & 1)}
	}
	odd := uint32(0)
	for l := range lanes {
		odd |= uint32(in[l][3]&1) << l
	}
	for _, c := range []struct {
		body string
		want func(l int) uint64
	}{
		{"shfl.sync.bfly.b32 %r0, %ra, 5, 31, -1;", func(l int) uint64 { return uint64(100 + (l ^ 5)) }},
		{"shfl.sync.idx.b32 %r0, %ra, %rb, 31, -1;", func(l int) uint64 { return uint64(100 + l*7%32) }},
		{"shfl.sync.up.b32 %r0|%q, %ra, 3, 0, -1;\n\t@!%q mov.u32 %r0, 0;", func(l int) uint64 {
			if l < 3 {
				return 0
			}
			return uint64(100 + l - 3)
		}},
		{"shfl.sync.down.b32 %r0, %ra, 2, 0x181f, -1;", func(l int) uint64 { // segments of 8
			if l%8 > 5 {
				return uint64(100 + l)
			}
			return uint64(100 + l + 2)
		}},
		{"vote.sync.ballot.b32 %r0, %p, -1;", func(int) uint64 { return uint64(odd) }},
		{"vote.sync.any.pred %q, !%p, -1;\n\tselp.u32 %r0, 1, 0, %q;", func(int) uint64 { return 1 }},
		{"vote.sync.all.pred %q, %p, -1;\n\tselp.u32 %r0, 1, 0, %q;", func(int) uint64 { return 0 }},
		{"match.any.sync.b32 %r0, %rc, -1;", func(l int) uint64 { return uint64(15) << (l / 4 * 4) }},
		{"redux.sync.add.s32 %r0, %ra, -1;", func(int) uint64 { return 32*100 + 31*16 }},
		{"redux.sync.max.u32 %r0, %ra, -1;", func(int) uint64 { return 131 }},
		{"mov.u32 %r0, %laneid;", func(l int) uint64 { return uint64(l) }},
		{"mov.u32 %r0, %lanemask_lt;", func(l int) uint64 { return 1<<l - 1 }},
		// Half a warp adds up its own members.
		{"mov.u32 %r0, 0;\n\tsetp.lt.u32 %q, %r9, 16;\n\t@!%q bra $end;\n\tredux.sync.add.s32 %r0, %ra, 0xffff;\n$end:", func(l int) uint64 {
			if l < 16 {
				return 16*100 + 15*8
			}
			return 0
		}},
		// Neighbours in groups of four, each with a mask of its own, in one instruction.
		{"match.any.sync.b32 %r6, %rc, -1;\n\tshfl.sync.bfly.b32 %r0, %ra, 1, 31, %r6;", func(l int) uint64 { return uint64(100 + (l ^ 1)) }},
		{"match.any.sync.b32 %r6, %rc, -1;\n\tredux.sync.add.s32 %r0, %ra, %r6;", func(l int) uint64 { return uint64(4*100 + 16*(l/4) + 6) }},
		// A loop that each lane leaves at its own time, then all meet.
		{"mov.u32 %r6, 0;\n$loop:\n\tadd.s32 %r6, %r6, 1;\n\tsetp.le.u32 %q, %r6, %rb;\n\t@%q bra $loop;\n\tredux.sync.add.s32 %r0, %r6, -1;", func(int) uint64 { return 31*16 + 32 }},
		{"mov.u32 %r6, box;\n\tshl.b32 %r7, %r9, 2;\n\tadd.s32 %r6, %r6, %r7;\n\tst.shared.u32 [%r6], %ra;\n\tbar.sync 0;\n\txor.b32 %r7, %r7, 124;\n\tmov.u32 %r6, box;\n\tadd.s32 %r6, %r6, %r7;\n\tld.shared.u32 %r0, [%r6];", func(l int) uint64 { return uint64(100 + 31 - l) }},
		{"mov.u32 %r6, box;\n\tst.shared.u32 [%r6], 0;\n\tbar.sync 0;\n\tatom.shared.add.u32 %r0, [%r6], %ra;\n\tbar.sync 0;\n\tld.shared.u32 %r0, [%r6];", func(int) uint64 { return 32*100 + 31*16 }},
		{"bar.red.or.pred %q, 0, %p;\n\tselp.u32 %r0, 1, 0, %q;", func(int) uint64 { return 1 }},
		{"bar.red.popc.u32 %r0, 0, %p;", func(int) uint64 { return uint64(bits.OnesCount32(odd)) }},
	} {
		out, err := lane(t, c.body, in)
		if err != nil {
			t.Errorf("%s: %v", c.body, err)
			continue
		}
		for l := range out {
			if want := c.want(l); out[l] != want {
				t.Errorf("%s: lane %d has %d, want %d", c.body, l, out[l], want)
				break
			}
		}
	}
}

// Lanes that name each other must do so with one mask.
func TestGroupsAgreeOnTheirMask(t *testing.T) {
	var in [lanes][4]uint64
	_, err := lane(t, "mov.u32 %r6, -1;\n\tsetp.lt.u32 %q, %r9, 16;\n\t@%q mov.u32 %r6, 0xffff;\n\tshfl.sync.bfly.b32 %r0, %ra, 1, 31, %r6;", in)
	if want := "lanes 0xffff0000 names lanes 0xffff, which come with another mask"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// a·b by mma from fragments that ldmatrix took out of shared memory, plain and transposed, against the product itself.
func TestMatrixInstructions(t *testing.T) {
	// A (16,16) lies at box, B (16,8) by rows of k at box+512: 16-byte rows. Lane l stores 16 bytes of A, lanes 0-15 a row of B.
	var a [16][16]float64
	var b [16][8]float64
	var in [lanes][4]uint64
	half := func(f float64) uint64 { return uint64(math.Float32bits(float32(f)) >> 16) }
	for r := range 16 {
		for c := range 16 {
			a[r][c] = float64((r*5+c*3)%17 - 8)
			in[r*2+c/8][c%8/4] |= half(a[r][c]) << (c % 4 * 16)
		}
		for c := range 8 {
			b[r][c] = float64((r*7+c*11)%13-6) / 4
			in[r][2+c/4] |= half(b[r][c]) << (c % 4 * 16)
		}
	}
	body := func(e int) string {
		return fmt.Sprintf(`
	.reg .b32 %%a<4>;
	.reg .b32 %%b<2>;
	.reg .f32 %%d<4>;
	mov.u32 %%r6, box;
	shl.b32 %%r7, %%r9, 4;
	add.s32 %%r7, %%r6, %%r7;
	st.shared.v2.u64 [%%r7], {%%x4, %%x5};
	setp.lt.u32 %%p2, %%r9, 16;
	@%%p2 st.shared.v2.u64 [%%r7+512], {%%x6, %%x7};
	bar.sync 0;
	and.b32 %%r7, %%r9, 15;
	shl.b32 %%r7, %%r7, 5;
	shr.u32 %%r8, %%r9, 4;
	shl.b32 %%r8, %%r8, 4;
	add.s32 %%r7, %%r7, %%r8;
	add.s32 %%r7, %%r7, %%r6;
	ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%%a0, %%a1, %%a2, %%a3}, [%%r7];
	and.b32 %%r7, %%r9, 15;
	shl.b32 %%r7, %%r7, 4;
	add.s32 %%r7, %%r7, %%r6;
	ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%%b0, %%b1}, [%%r7+512];
	mov.f32 %%d0, 0f3F800000;
	mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%%d0, %%d1, %%d2, %%d3}, {%%a0, %%a1, %%a2, %%a3}, {%%b0, %%b1}, {%%d0, %%d0, %%d0, %%d0};
	mov.b32 %%r0, %%d%d;
	cvt.u64.u32 %%x0, %%r0;`, e)
	}
	for e := range 4 {
		text := strings.Replace(laneKernel("$BODY %x0"), "$BODY %x0", body(e), 1)
		bn := newBench(t, Options{}, []byte(text))
		var buf []byte
		for _, l := range in {
			for _, v := range l {
				buf = binary.LittleEndian.AppendUint64(buf, v)
			}
		}
		p, q := bn.bytes("in", buf), bn.bytes("out", make([]byte, lanes*8))
		if err := bn.launch("k", 1, lanes, 0, p, q); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, lanes*8)
		bn.read(got, q)
		for l := range lanes {
			row, col := l/4+e/2*8, l%4*2+e%2
			want := 1.0
			for k := range 16 {
				want += a[row][k] * b[k][col]
			}
			if v := float64(math.Float32frombits(binary.LittleEndian.Uint32(got[8*l:]))); v != want {
				t.Errorf("element (%d,%d) is %v, want %v", row, col, v, want)
			}
		}
		if c := bn.d.Counters(); c.MMA != 1 || c.Conflicts == 0 {
			t.Errorf("counters %+v: want one mma, and conflicts of the rows of A, 32 bytes apart", c)
		}
	}
}

// What is not understood does not load, and says what and where.
func TestUnknownInstructionsDoNotLoad(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{"frobnicate.u32 %r0, %ra;", "frobnicate.u32"},
		{"add.sat.s32 %r0, %ra, %rb;", ".sat"},
		{"mad.lo.cc.u32 %r0, %ra, %rb, %rc;", ".cc"},
		{"mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%r0,%r0,%r0,%r0}, {%ra,%ra}, {%rb}, {%r0,%r0,%r0,%r0};", "m16n8k16"},
		{"wgmma.fence.sync.aligned;", "wgmma"},
		{"mov.u32 %r0, %nosuch;", "%nosuch"},
		{"bra $nowhere;", "$nowhere"},
		{"add.rn.bf16 %ha, %ha, %hb;", "bf16"},
	} {
		m, err := New(Options{Capability: 80}).Load([]byte(laneKernel(c.body)))
		if err == nil {
			_, err = m.Func("k")
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "PTX line") {
			t.Errorf("%s: %v, want an error with the line that names %q", c.body, err, c.want)
		}
	}
}

// The driver refuses what a GPU's would.
func TestLaunchesAreChecked(t *testing.T) {
	b := planted(t, Options{})
	f, err := b.m.Func("norm_0")
	if err != nil {
		t.Fatal(err)
	}
	good := driver.Launch{Func: f, Grid: [3]uint32{1, 1, 1}, Block: [3]uint32{128, 1, 1}, Params: make([]byte, 24), Sizes: []int{8, 8, 4, 4}}
	for _, c := range []struct {
		want string
		edit func(*driver.Launch)
	}{
		{"parameter 3 has 4 bytes of 0 left, its PTX declares 4", func(l *driver.Launch) { l.Params = l.Params[:20] }},
		{"8 bytes behind the last parameter", func(l *driver.Launch) { l.Params = make([]byte, 32) }},
		{"parameter 1 has 4 bytes of 16 left, its PTX declares 8", func(l *driver.Launch) { l.Sizes = []int{8, 4, 8, 4} }},
		{"3 parameters, its PTX declares 4", func(l *driver.Launch) { l.Sizes = []int{8, 8, 8} }},
		{"blocks of 2048 threads", func(l *driver.Launch) { l.Block[0] = 2048 }},
		{"blocks of 0 threads", func(l *driver.Launch) { l.Block[1] = 0 }},
		{"grid", func(l *driver.Launch) { l.Grid[1] = 65536 }},
		{"declares none", func(l *driver.Launch) { l.Shared = 16 }},
		{"clusters", func(l *driver.Launch) { l.Cluster = [3]uint32{2, 1, 1} }},
	} {
		l := good
		c.edit(&l)
		if err := b.d.Launch(0, []driver.Launch{l}); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "norm_0") {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	hopper := strings.Replace(laneKernel("mov.u32 %r0, 1;"), "sm_80", "sm_90a", 1)
	if _, err := New(Options{Capability: 80}).Load([]byte(hopper)); err == nil || !strings.Contains(err.Error(), "sm_90a") {
		t.Errorf("sm_90a on sm_80: %v", err)
	}
}

func TestMemoryIsGuarded(t *testing.T) {
	d := New(Options{Capability: 80, Memory: 1 << 20})
	p, err := d.Alloc(100)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	st := driver.NewStaging(d)
	if err := st.Out(0, buf, p); err != nil || buf[0] != 0xff || buf[99] != 0xff {
		t.Errorf("new memory is %v…, %v: want 0xff", buf[0], err)
	}
	if err := st.Out(0, buf, p+1); err == nil || !strings.Contains(err.Error(), "allocation of 100 bytes") {
		t.Errorf("a copy past the end: %v", err)
	}
	if _, err := d.Alloc(1 << 20); err == nil || !strings.Contains(err.Error(), "out of memory") {
		t.Errorf("more than there is: %v", err)
	}
	if err := d.Free(p); err != nil {
		t.Error(err)
	}
	if err := d.Free(p); err == nil {
		t.Error("freed twice")
	}
	if err := st.In(0, p, buf); err == nil || !strings.Contains(err.Error(), "was freed") {
		t.Errorf("use after free: %v", err)
	}
	b := planted(t, Options{})
	y, x := b.floats("y", 650), b.floats("x", 650)
	b.d.Free(x)
	if ks := kinds(b.launch("norm_0", 1, 128, 0, y, x, 1, 130)); len(ks) == 0 || ks[0] != UseAfterFree {
		t.Errorf("a kernel on freed memory reports %v", ks)
	}
}

// A graph replays the same launches.
func TestGraphsReplay(t *testing.T) {
	b := planted(t, Options{})
	out := b.bytes("out", make([]byte, 4))
	f, _ := b.m.Func("count_0")
	g, err := b.d.Capture([]driver.Launch{{
		Func: f, Grid: [3]uint32{3, 1, 1}, Block: [3]uint32{1, 1, 1}, Params: binary.LittleEndian.AppendUint64(nil, uint64(out)), Sizes: []int{8},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.d.Replay(0, g); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 4)
	b.read(buf, out)
	if n := binary.LittleEndian.Uint32(buf); n != 6 {
		t.Errorf("two replays counted to %d, want 6", n)
	}
	if c := b.d.Counters(); c.Launches != 2 || c.Instructions == 0 {
		t.Errorf("counters %+v", c)
	}
}
