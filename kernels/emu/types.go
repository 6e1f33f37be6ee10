package emu

import (
	"math"
)

// typ is a fundamental type.
type typ struct {
	name   string
	size   int // bytes; a predicate has 1
	signed bool
	float  bool
}

// Types of operands that an instruction does not spell out.
var (
	predType = typ{name: "pred", size: 1}
	b32Type  = typ{name: "b32", size: 4}
	u32Type  = typ{name: "u32", size: 4}
	s32Type  = typ{name: "s32", size: 4}
	u64Type  = typ{name: "u64", size: 8}
	f32Type  = typ{name: "f32", size: 4, float: true}
)

func (t typ) bits() uint { return uint(t.size) * 8 }

func (t typ) mask() uint64 {
	if t.size == 8 {
		return math.MaxUint64
	}
	return 1<<t.bits() - 1
}

func typeOf(s string) (typ, bool) {
	switch s {
	case "pred":
		return typ{name: s, size: 1}, true
	case "b8", "u8":
		return typ{name: s, size: 1}, true
	case "s8":
		return typ{name: s, size: 1, signed: true}, true
	case "b16", "u16":
		return typ{name: s, size: 2}, true
	case "s16":
		return typ{name: s, size: 2, signed: true}, true
	case "f16", "bf16":
		return typ{name: s, size: 2, float: true}, true
	case "b32", "u32":
		return typ{name: s, size: 4}, true
	case "s32":
		return typ{name: s, size: 4, signed: true}, true
	case "f32", "tf32":
		return typ{name: s, size: 4, float: true}, true
	case "f16x2", "bf16x2":
		return typ{name: s, size: 4}, true
	case "b64", "u64":
		return typ{name: s, size: 8}, true
	case "s64":
		return typ{name: s, size: 8, signed: true}, true
	case "f64":
		return typ{name: s, size: 8, float: true}, true
	}
	return typ{}, false
}

// specials are the special registers, in the order of a warp's prefilled registers.
var specials = map[string]int{
	"%tid.x": 0, "%tid.y": 1, "%tid.z": 2,
	"%ntid.x": 3, "%ntid.y": 4, "%ntid.z": 5,
	"%ctaid.x": 6, "%ctaid.y": 7, "%ctaid.z": 8,
	"%nctaid.x": 9, "%nctaid.y": 10, "%nctaid.z": 11,
	"%laneid": 12, "%warpid": 13, "%nwarpid": 14,
	"%lanemask_eq": 15, "%lanemask_lt": 16, "%lanemask_le": 17, "%lanemask_gt": 18, "%lanemask_ge": 19,
	"%clock": 20, "%clock64": 21, "%smid": 22, "%nsmid": 23, "%dynamic_smem_size": 24,
	"%cluster_ctarank": 25, "%cluster_nctarank": 26,
}

const specialCount = 27
