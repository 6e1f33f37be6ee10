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

// SOFTMAX turns n scores at s, padded to whole panels of 16, into exp(s·Y14 − top) with top, which becomes X15, the largest of them, scaled, and
// of Y0; the rest of the last panel becomes 0. X0 becomes their sum: its lanes are those of a panel. AX ends behind the last panel. CX and DX are spoiled.
#define SOFTMAX(s, n) \
	VMOVAPS Y0, Y1           \
	MOVQ s, AX               \
	MOVQ n, CX               \
	SUBQ $16, CX             \
	JLT part                 \
full:                        \
	VMULPS (AX), Y14, Y4     \
	VMULPS 32(AX), Y14, Y5   \
	VMAXPS Y0, Y4, Y0        \
	VMAXPS Y1, Y5, Y1        \
	VMOVUPS Y4, (AX)         \
	VMOVUPS Y5, 32(AX)       \
	ADDQ $64, AX             \
	SUBQ $16, CX             \
	JGE full                 \
part:                        \
	ADDQ $16, CX             \
	JZ top                   \
	LEAQ ·lanes32(SB), DX    \
	NEGQ CX                  \
	LEAQ 64(DX)(CX*4), DX    \
	VMOVUPS (DX), Y8         \
	VMOVUPS 32(DX), Y9       \
	VMOVUPS negInf<>(SB), Y6 \
	VMULPS (AX), Y14, Y4     \
	VMULPS 32(AX), Y14, Y5   \
	VBLENDVPS Y8, Y4, Y6, Y4 \
	VBLENDVPS Y9, Y5, Y6, Y5 \
	VMAXPS Y0, Y4, Y0        \
	VMAXPS Y1, Y5, Y1        \
	VMOVUPS Y4, (AX)         \
	VMOVUPS Y5, 32(AX)       \
top:                         \
	VMAXPS Y1, Y0, Y0        \
	VEXTRACTF128 $1, Y0, X1  \
	VMAXPS X1, X0, X0        \
	VMOVHLPS X0, X0, X1      \
	VMAXPS X1, X0, X0        \
	VMOVSHDUP X0, X1         \
	VMAXSS X1, X0, X0        \
	VBROADCASTSS X0, Y15     \
	VXORPS Y0, Y0, Y0        \
	VXORPS Y1, Y1, Y1        \
	MOVQ s, AX               \
	MOVQ n, CX               \
sum:                         \
	VMOVUPS (AX), Y4         \
	VMOVUPS 32(AX), Y10      \
	VSUBPS Y15, Y4, Y4       \
	VSUBPS Y15, Y10, Y10     \
	EXP(Y4, Y5, Y6, Y7, Y8)     \
	EXP(Y10, Y11, Y12, Y13, Y9) \
	VMOVUPS Y7, (AX)         \
	VMOVUPS Y13, 32(AX)      \
	VADDPS Y7, Y0, Y0        \
	VADDPS Y13, Y1, Y1       \
	ADDQ $64, AX             \
	SUBQ $16, CX             \
	JGT sum                  \
	VADDPS Y1, Y0, Y0        \
	TREE(Y0, X0, X1)
