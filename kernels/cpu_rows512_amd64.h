// How the product kernels of up to twelve rows in AVX-512 go through rows of a, at SI, R10 apart, and of c, at R8, R9 apart.

// ROWS points AX, DX, CX and BP at rows 0, 3, 6 and 9 of what starts at p, rows d apart.
#define ROWS(p, d) \
	MOVQ p, AX            \
	LEAQ (d)(d*2), BP     \
	LEAQ (AX)(BP*1), DX   \
	LEAQ (AX)(BP*2), CX   \
	LEAQ (DX)(BP*2), BP

// NEXTROWS goes to the n rows below.
#define NEXTROWS(n) \
	MOVQ $n, AX   \
	MOVQ AX, CX   \
	IMULQ R9, AX  \
	ADDQ AX, R8   \
	IMULQ R10, CX \
	ADDQ CX, SI
