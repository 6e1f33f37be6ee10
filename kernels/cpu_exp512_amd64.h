// exp in AVX-512, lane by lane the operations of cpu_simd_amd64.s, and the lanes of a row's last block.

// CONSTANT loads one of exp's.
#define CONSTANT(bits, z) \
	MOVL $bits, AX      \
	VPBROADCASTD AX, z

// CONSTANTS, by their names in cpu_simd_amd64.s: expHigh, expLow, expLog2e, expMagic, expLn2H, expLn2L, expC0 … expC5, one.
#define CONSTANTS \
	CONSTANT(0x42b0c0a5, Z16) \
	CONSTANT(0xc2aeac4f, Z17) \
	CONSTANT(0x3fb8aa3b, Z18) \
	CONSTANT(0x4b400000, Z19) \
	CONSTANT(0x3f318000, Z20) \
	CONSTANT(0xb95e8083, Z21) \
	CONSTANT(0x39506967, Z22) \
	CONSTANT(0x3ab743ce, Z23) \
	CONSTANT(0x3c088908, Z24) \
	CONSTANT(0x3d2aa9c1, Z25) \
	CONSTANT(0x3e2aaaaa, Z26) \
	CONSTANT(0x3f000000, Z27) \
	CONSTANT(0x3f800000, Z28)

// EXP sets p = exp(x); x, t, n and K1 are spoiled.
#define EXP(x, t, n, p) \
	VMINPS x, Z16, x         \
	VCMPPS $5, Z17, x, K1    \
	VMOVAPS Z19, t           \
	VFMADD231PS Z18, x, t    \
	VSUBPS Z19, t, n         \
	VFNMADD231PS Z20, n, x   \
	VFNMADD231PS Z21, n, x   \
	VMOVAPS Z22, p           \
	VFMADD213PS Z23, x, p    \
	VFMADD213PS Z24, x, p    \
	VFMADD213PS Z25, x, p    \
	VFMADD213PS Z26, x, p    \
	VFMADD213PS Z27, x, p    \
	VMULPS x, x, n           \
	VFMADD213PS x, n, p      \
	VADDPS Z28, p, p         \
	VPSLLD $23, t, t         \
	VPADDD Z28, t, t         \
	VMULPS.Z t, p, K1, p

// LAST sets K2 to the lanes of the last block of n numbers, and n to the number of blocks before it; n is at least 1. AX, CX are spoiled.
#define LAST(n) \
	DECQ n       \
	MOVQ n, CX   \
	ANDQ $15, CX \
	INCQ CX      \
	MOVL $1, AX  \
	SHLQ CX, AX  \
	DECQ AX      \
	KMOVW AX, K2 \
	SHRQ $4, n
