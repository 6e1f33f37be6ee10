package kernels

import (
	"flag"
	"fmt"
	"math"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// subject is a device under test. Its activations and weights are of dtype; inputs are rounded to it before the reference sees
// them, so tol covers the device's own arithmetic: |got − want| ≤ tol · max(1, largest |want|).
type subject struct {
	name   string
	dev    Device
	dtype  DType
	tol    float64
	checks int           // random cases per operation; 0: rapid's default
	reopen func() Device // another device like dev; nil: there is none
}

// conformance is what a Device must do: one row per operation, each against its float64 reference, over random shapes and views.
var conformance = []struct {
	op    string
	check func(t *rapid.T, s *subject)
}{
	{"Copy", checkCopy},
	{"Embed", checkEmbedOp},
	{"Linear", checkLinearOp},
	{"LinearBackward", checkLinearBackwardOp},
	{"RMSNorm", checkRMSNormOp},
	{"RMSNormBackward", checkRMSNormBackwardOp},
	{"SwiGLU", checkSwiGLUOp},
	{"SwiGLUBackward", checkSwiGLUBackwardOp},
	{"Add", checkAddOp},
	{"RoPE", checkRoPEOp},
	{"RoPEBackward", checkRoPEBackwardOp},
	{"Attention", checkAttentionOp},
	{"AttentionBackward", checkAttentionBackwardOp},
	{"PagedAttention", checkPagedAttentionOp},
	{"CopyPages", checkCopyPagesOp},
	{"Keep", checkKeepOp},
	{"LogSumExp", checkLogSumExpOp},
	{"LogProb", checkLogProbOp},
	{"LogProbBackward", checkLogProbBackwardOp},
	{"Sample", checkSampleOp},
	{"SampleRestricted", checkSampleRestrictedOp},
	{"Restrict", checkRestrictOp},
	{"Draw", checkDrawOp},
	{"PolicyLoss", checkPolicyLossOp},
	{"ValueLoss", checkValueLossOp},
	{"SumSquares", checkSumSquaresOp},
	{"AdamW", checkAdamWOp},
	{"AdamWHalves", checkAdamWHalvesOp},
	{"Split", checkSplitOp},
	{"SumTree", checkSumTreeOp},
}

// conform runs the suite on one device.
func conform(t *testing.T, s subject) {
	checks := flag.Lookup("rapid.checks").Value
	if was := checks.String(); s.checks > 0 && was == "100" {
		checks.Set(strconv.Itoa(s.checks))
		defer checks.Set(was)
	}
	for _, c := range conformance {
		t.Run(c.op, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { c.check(t, &s) })
		})
	}
}

// cpus is the CPU device in all variants that this processor has, on one and on three threads.
func cpus(t testing.TB) (all []subject) {
	for _, v := range variants() {
		for _, threads := range []int{1, 3} {
			dev := newCPU(threads, v)
			t.Cleanup(func() { dev.Close() })
			all = append(all, subject{name: fmt.Sprintf("%s-%d", v.name, threads), dev: dev, dtype: F32, tol: 4e-6, checks: 40})
			if threads > 1 {
				all = append(all, subject{name: v.name + "-bf16", dev: dev, dtype: BF16, tol: 4e-3, checks: 20})
			}
		}
	}
	return all
}

func TestEveryOperationAgreesWithItsReference(t *testing.T) {
	for _, s := range cpus(t) {
		t.Run(s.name, func(t *testing.T) { conform(t, s) })
	}
}

// do runs f inside Do.
func (s *subject) do(t *rapid.T, f func()) {
	t.Helper()
	if err := s.dev.Do(f); err != nil {
		t.Fatal(err)
	}
}

// rounded is x as dtype holds it.
func rounded(dtype DType, x float64) float64 {
	if dtype == BF16 {
		return float64(roundBF16(float32(x)))
	}
	return float64(float32(x))
}

// numbers draws n numbers of about unit size, as the subject's type holds them.
func (s *subject) numbers(t *rapid.T, n int, label string) []float64 {
	return s.numbersOf(t, s.dtype, n, label)
}

func (s *subject) numbersOf(t *rapid.T, dtype DType, n int, label string) []float64 {
	rng := newRand(rapid.Uint64().Draw(t, label))
	x := make([]float64, n)
	for i := range x {
		x[i] = rounded(dtype, rng.normal())
	}
	return x
}

// testRand is a small generator for test data: SplitMix64.
type testRand struct{ state uint64 }

func newRand(seed uint64) *testRand { return &testRand{seed} }

func (r *testRand) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (r *testRand) float() float64  { return float64(r.next()>>11) / (1 << 53) }
func (r *testRand) below(n int) int { return int(r.next() % uint64(n)) }
func (r *testRand) normal() float64 {
	return math.Sqrt(-2*math.Log(1-r.float())) * math.Cos(2*math.Pi*r.float())
}

// place uploads a matrix of the subject's type, sometimes as columns of a wider one whose other columns hold NaN.
func (s *subject) place(t *rapid.T, x []float64, rows, cols int) Tensor {
	return s.placeOf(t, s.dtype, x, rows, cols)
}

func (s *subject) placeOf(t *rapid.T, dtype DType, x []float64, rows, cols int) Tensor {
	left, right := 0, 0
	if rapid.Bool().Draw(t, "view") {
		// 8 elements keep the rows of any type on 16-byte borders.
		left, right = 8*rapid.IntRange(0, 2).Draw(t, "left"), 8*rapid.IntRange(0, 2).Draw(t, "right")
	}
	width := left + cols + right
	all := make([]float32, rows*width)
	for i := range all {
		all[i] = float32(math.NaN())
	}
	for r := range rows {
		for c := range cols {
			all[r*width+left+c] = float32(x[r*cols+c])
		}
	}
	m := s.dev.Alloc(dtype, rows, width)
	s.dev.Upload(m, all)
	return m.Cols(left, left+cols)
}

// maybeFresh is a gradient's output as it is, or Fresh, with NaN in it: then it holds zeros before, as far as the operation is concerned.
func (s *subject) maybeFresh(t *rapid.T, x Tensor, before []float64) Tensor {
	if !rapid.Bool().Draw(t, "fresh") {
		return x
	}
	clear(before)
	nan := make([]float32, x.Len())
	for i := range nan {
		nan[i] = float32(math.NaN())
	}
	s.dev.Upload(x, nan)
	return x.Fresh()
}

// vector uploads contiguous numbers of a type.
func (s *subject) vector(dtype DType, x []float64) Tensor {
	v := s.dev.Alloc(dtype, len(x))
	s.dev.Upload(v, float32s(x))
	return v
}

func float32s(x []float64) []float32 {
	y := make([]float32, len(x))
	for i := range x {
		y[i] = float32(x[i])
	}
	return y
}

func (s *subject) ints(x []int32, shape ...int) Tensor {
	if len(shape) == 0 {
		shape = []int{len(x)}
	}
	v := s.dev.Alloc(I32, shape...)
	s.dev.Upload(v, x)
	return v
}

// read downloads the numbers of a tensor, view or not.
func (s *subject) read(x Tensor) []float64 {
	y := make([]float32, x.Len())
	s.dev.Download(y, x)
	z := make([]float64, len(y))
	for i := range y {
		z[i] = float64(y[i])
	}
	return z
}

// free returns the memory of tensors.
func (s *subject) free(ts ...Tensor) {
	for _, t := range ts {
		s.dev.Free(t)
	}
}

// near demands got ≈ want within scale times the subject's tolerance.
func (s *subject) near(t *rapid.T, what string, got, want []float64, scale float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	top := 1.0
	for _, x := range want {
		top = max(top, math.Abs(x))
	}
	for i := range got {
		if !(math.Abs(got[i]-want[i]) <= s.tol*scale*top) {
			t.Fatalf("%s[%d] = %v, want %v (off by %.2g of %.3g)", what, i, got[i], want[i], math.Abs(got[i]-want[i])/top, s.tol*scale)
		}
	}
}

// gradient is ∂loss/∂x[i] by central differences; x is restored.
func gradient(x []float64, i int, loss func() float64) float64 {
	const e = 1e-5
	was := x[i]
	x[i] = was + e
	up := loss()
	x[i] = was - e
	down := loss()
	x[i] = was
	return (up - down) / (2 * e)
}

// nearGradient demands that got − before, at some random places, is the derivative of loss.
func (s *subject) nearGradient(t *rapid.T, what string, got, before, x []float64, scale float64, loss func() float64) {
	t.Helper()
	if len(x) == 0 {
		return
	}
	rng := newRand(rapid.Uint64().Draw(t, what))
	n := min(len(x), 12)
	a, b := make([]float64, n), make([]float64, n)
	for k := range n {
		i := rng.below(len(x))
		a[k], b[k] = got[i], before[i]+gradient(x, i, loss)
	}
	s.near(t, what, a, b, scale)
}

func dot64(x, y []float64) (sum float64) {
	for i := range x {
		sum += x[i] * y[i]
	}
	return sum
}

// mustPanic demands a panic whose text holds all the words.
func mustPanic(t *testing.T, f func(), words ...string) {
	t.Helper()
	defer func() {
		t.Helper()
		text := fmt.Sprint(recover())
		for _, w := range words {
			if !contains(text, w) {
				t.Errorf("panic is %q, it should say %q", text, w)
			}
		}
	}()
	f()
	t.Error("no panic")
}

func contains(s, sub string) bool {
	for i := 0; i+len(sub) <= len(s); i++ {
		if s[i:i+len(sub)] == sub {
			return true
		}
	}
	return false
}
