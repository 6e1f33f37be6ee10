// HEADVALUES goes through the values of a tile, in AVX2 and AVX-512: two blocks of 32 columns at a time, of two heads, or of one whose rows are
// longer. BLOCK does them. See headTile for the offsets of DI.
//
//	DI t   SI, BX probabilities   R8 outputs   R9, R11 values   R10, AX factors   R12 from a key to the next   R13 heads left   R14 4 times the head
//	R15 blocks of a head that are left, two a block
#define HEADVALUES \
	MOVQ t+0(FP), DI \
	MOVQ 8(DI), R8 \
	MOVQ 16(DI), SI \
	MOVQ 24(DI), R9 \
	MOVQ 104(DI), R12 \
	MOVQ 112(DI), R13 \
	XORQ R14, R14 \
	MOVQ 120(DI), R15 \
	CMPQ R15, $32 \
	JNE long \
pair: \
	LEAQ 256(SI), BX \
	MOVQ R9, CX \
	MOVQ R9, DX \
	ADDQ 96(DI), DX \
	MOVQ 160(DI), AX \
	ADDQ R14, AX \
	LEAQ 4(AX), R10 \
	BLOCK(pairzero, pairstart, pairloop) \
	ADDQ $512, SI \
	ADDQ 96(DI), R9 \
	ADDQ 96(DI), R9 \
	ADDQ $8, R14 \
	SUBQ $2, R13 \
	JNZ pair \
	VZEROUPPER \
	RET \
long: \
	MOVQ R9, R11 \
	SHRQ $6, R15 \
block: \
	MOVQ SI, BX \
	MOVQ R11, CX \
	LEAQ 128(R11), DX \
	MOVQ 160(DI), AX \
	ADDQ R14, AX \
	MOVQ AX, R10 \
	BLOCK(longzero, longstart, longloop) \
	ADDQ $256, R11 \
	DECQ R15 \
	JNZ block \
	ADDQ $256, SI \
	ADDQ 96(DI), R9 \
	ADDQ $4, R14 \
	MOVQ 120(DI), R15 \
	DECQ R13 \
	JNZ long \
	VZEROUPPER \
	RET
