// exp in AVX2, the mask of a row's last numbers, and the tree that adds lanes. Formulas and the order of lanes are those of cpu_simd_go.go.

#define EIGHT(name, bits) \
	DATA name+0(SB)/8, $bits  \
	DATA name+8(SB)/8, $bits  \
	DATA name+16(SB)/8, $bits \
	DATA name+24(SB)/8, $bits \
	GLOBL name(SB), RODATA|NOPTR, $32

EIGHT(expLow<>, 0xc2aeac4fc2aeac4f)   // −87.33654
EIGHT(expHigh<>, 0x42b0c0a542b0c0a5)  // 88.37626
EIGHT(expLog2e<>, 0x3fb8aa3b3fb8aa3b) // 1/ln 2
EIGHT(expMagic<>, 0x4b4000004b400000) // 1.5·2²³
EIGHT(expLn2H<>, 0x3f3180003f318000)  // 0.693359375
EIGHT(expLn2L<>, 0xb95e8083b95e8083)  // −2.12194440e-4
EIGHT(expC0<>, 0x3950696739506967)
EIGHT(expC1<>, 0x3ab743ce3ab743ce)
EIGHT(expC2<>, 0x3c0889083c088908)
EIGHT(expC3<>, 0x3d2aa9c13d2aa9c1)
EIGHT(expC4<>, 0x3e2aaaaa3e2aaaaa)
EIGHT(expC5<>, 0x3f0000003f000000)
EIGHT(one<>, 0x3f8000003f800000)
EIGHT(negInf<>, 0xff800000ff800000)
EIGHT(signBit<>, 0x8000000080000000)

// EXP sets p = exp(x); x, t and n are spoiled. m holds the lanes that are 0.
#define EXP(x, t, n, p, m) \
	VMOVUPS expHigh<>(SB), t               \
	VMINPS x, t, x                         \
	VCMPPS $1, expLow<>(SB), x, m          \
	VMOVUPS expMagic<>(SB), t              \
	VFMADD231PS expLog2e<>(SB), x, t       \
	VSUBPS expMagic<>(SB), t, n            \
	VFNMADD231PS expLn2H<>(SB), n, x       \
	VFNMADD231PS expLn2L<>(SB), n, x       \
	VMOVUPS expC0<>(SB), p                 \
	VFMADD213PS expC1<>(SB), x, p          \
	VFMADD213PS expC2<>(SB), x, p          \
	VFMADD213PS expC3<>(SB), x, p          \
	VFMADD213PS expC4<>(SB), x, p          \
	VFMADD213PS expC5<>(SB), x, p          \
	VMULPS x, x, n                         \
	VFMADD213PS x, n, p                    \
	VADDPS one<>(SB), p, p                 \
	VPSLLD $23, t, t                       \
	VPADDD one<>(SB), t, t                 \
	VMULPS t, p, p                         \
	VANDNPS p, m, p

// TAIL sets m to the mask of the first CX (1 to 7) lanes; DX is spoiled.
#define TAIL(m) \
	LEAQ ·lanes32(SB), DX   \
	NEGQ CX                 \
	VMOVUPS 64(DX)(CX*4), m

// TREE adds the lanes of y into x, the lower half of y: (0+4 + 2+6) + (1+5 + 3+7).
#define TREE(y, x, t) \
	VEXTRACTF128 $1, y, t   \
	VADDPS t, x, x          \
	VMOVHLPS x, x, t        \
	VADDPS t, x, x          \
	VMOVSHDUP x, t          \
	VADDSS t, x, x
