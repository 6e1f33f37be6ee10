// Package kernels holds every numeric operation of a transformer and of its training.
//
// A Device is an instruction set: the CPU device implements it in Go and assembly, the GPU device in CUDA. A Tensor is an array in
// one device's memory, KV one layer's pages of keys and values. An operation is five neighbouring files: x.go, its contract and the check
// of shapes that both devices begin with, x_cpu.go, x_gpu.go, x.cu, and x_test.go, which holds its float64 reference.
// What all operations stand on is named for its device: cpu_*.go, gpu_*.go.
//
// # Letters
//
//	T  tokens of a packed batch      S  sequences of it          R  rows the head sees
//	C  hidden size                   H  query heads              K  key and value heads, G = H/K
//	D  size of a head                F  feed-forward size        V  vocabulary
//	P  tokens per page, PageTokens   M, N  inner and outer size of a Linear
//
// dx is the gradient of x. There is no batch dimension and no padding: a batch is one row of T tokens, and starts (S+1) says where
// its sequences begin, ending in T.
//
// # The numerics contract
//
// On one device kind, with one set of variants, the log-probability that the sampler recorded for a token equals, bit for bit,
// the one that a training forward computes for it. It follows from these rules, and contract_test.go holds each:
//
//   - An output of Linear is one chain of fused multiply-adds over the inner size, ascending; on the CPU, beyond 1,024 terms, chains of
//     512 each, added in order: as one chain, the head's gradient, a sum over the vocabulary, was a hundred times as far from float64 as
//     PyTorch's, and is nearer now (engine/model/testdata/float64.py). T, and which rows stand beside a row, never change its bits.
//   - Attention takes keys in tiles of PageTokens, aligned to the sequence's start, in ascending order; a masked key is an exact
//     no-op. Packed and paged attention share that one routine.
//   - A row has one reduction order, which depends on its length alone. Threads divide rows, never sums.
//   - There is one log-sum-exp. Sampler, scorer and loss are given its result. A GPU's Draw, which keeps no logits, adds up in its order.
//   - A draw is a function of (seed, trajectory, position, index), never of batch or time.
//   - A policy of truncated sampling is the same operations over logits of which all but a recorded set are −Inf. Restrict puts them there
//     where it is sampled, Keep where it is trained.
//   - Keys are rotated with one table of cosines, before they are stored or used.
//
// On a GPU the portable kernels, mma.sync on sm_80 and later, are the default. Those of Hopper (GPU.Hopper: Linear and attention by wgmma
// and bulk copies) are a class of instructions of their own; one run uses one class. Both take keys in tiles of 64, a page, though wider
// ones would suit wgmma: so the two agree bit for bit in the emulator, which adds in one order, and a chunk may be a single page.
//
// Operations on a GPU are queued, and a decode step is a graph of their launches that Repeat replays: batches are padded to few shapes,
// and what changes from step to step, ids, positions, pages, keys of draws, stands in tables that are uploaded before. Bits depend on
// neither. GPU.Synchronous waits for every launch instead, so that a fault names its kernel.
//
// Gradients are outside the contract but deterministic: sums over tokens are taken in ascending order, or in blocks whose size
// does not depend on the number of threads.
//
// # Adding an operation
//
// It is ten files, eight if it joins a family that is there; `make kernels` writes the PTX and its manifest besides.
//
//   - x.go: the formula as the doc comment of a method, in an interface of the family, and checkX; device.go names a new interface.
//   - x_cpu.go: the loops, on rows that the pool hands out; cpu.go keeps what the workers of a new family read. A loop that is worth
//     vectors of its own is a field of simd, with an implementation for each variant, held against one another in cpu_simd_test.go.
//   - x.cu and x_gpu.go: the kernel and its launch.
//   - x_test.go: the reference, and its check over random shapes, which device_test.go runs on every device: a row of conformance.
//   - gpu_every_test.go calls it in each way that is a kernel of its own: a kernel that nothing launches fails there.
//   - bench/operations_*.go: its entry, by which it is measured, and compared with the CPU by `retool bench smoke`.
//
// # Variants of the CPU device
//
// NewCPU takes the fastest set of inner loops that the processor and its operating system can run: "avx512bf16" (with AVX512_BF16, where
// a trial of some microseconds finds it quicker than the next), "avx512" (F, VL, DQ and BW), "avx2" (with FMA) or "go". Info.Variant
// names it; NewCPUVariant takes a given one. No environment variable has a say.
//
// All but "go" compute the same bits, all operations, forward and backward: a run on one host goes on, or is repeated, on another with the
// same numbers, on any number of threads, which share an operation or take whole ones apart (Apart). They use no approximate instruction,
// whose results differ between makers: roots and quotients are rounded as IEEE 754 demands. "go" follows the same order of sums and lanes
// but rounds every product before it is added, and so computes bits of its own; Info.Contract tells the two apart.
// TestBitsAreTheSameOnEveryProcessor pins both.
//
// # bf16 on the CPU
//
// A BF16 tensor of the CPU device takes two bytes a number and is storage: every operation widens what it reads, computes in float32, and
// rounds what it writes once. So the contract holds for a model in bf16 as for one in float32, on every processor. Weights are read in
// panels of pairs (pack); a matrix that nothing updates is kept in that order alone (Arrange), filled from a file's pages by all threads.
//
// A product with bf16 weights, of x forward and of dy backward, rounds the other side to bf16 where it is float32, as a GPU does; dw is
// float32 by float32. Its chain takes pairs of terms in ascending order, of each the second first. That is what the processor's own
// instruction (vdpbf16ps) computes: a product of two bf16 is exact in float32, and it adds the high one, then the low one, each sum
// rounded to nearest. So kernels that widen by a shift and a mask give the same bits as those that have it, and as those of plain Go.
// They differ where a number or a sum is below 2⁻¹²⁶, the least normal one, which the instruction takes for zero. The tile products of AMX
// are not used: TDPBF16PS keeps chains of their own for even and for odd terms and adds both at its end (Intel's manual, its operation), so
// their bits are those of no other processor, and a run could not go on elsewhere.
package kernels
