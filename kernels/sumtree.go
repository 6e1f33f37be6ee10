package kernels

// MaxTree is the largest number of rows that SumTree adds.
const MaxTree = 64

// Sums add what several passes, or several processes, have computed.
type Sums interface {
	// SumTree is y = the sum of the rows of x, over one binary tree: ((0+1)+(2+3))+((4+5)+(6+7)), and likewise of fewer, each number
	// beside the next until one is left. y (n), x (R,n), f32, R to MaxTree. Its bits follow from R alone, and where R is a power of two
	// they are those of the trees of its halves, quarters and so on, added by SumTree again. y may be a row of x.
	SumTree(y, x Tensor)
}

func checkSumTree(y, x Tensor) (rows, n int) {
	const op = "SumTree"
	checkFloats(op, "x", x, 2)
	if x.dtype != F32 || x.dims[0] < 1 || x.dims[0] > MaxTree {
		needs(op, "x", x, "f32 of 1 to 64 rows")
	}
	checkVector(op, "y", y, F32, x.dims[1])
	return x.dims[0], x.dims[1]
}
