package bench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"retool/kernels"
)

// A Case is one operation at one shape on a GPU, with the least work it can be done with. It is what the peers in peers.py are given.
type Case struct {
	Goal  string         `json:"goal"` // the line of the table of goals that it belongs to
	Op    string         `json:"op"`
	Dims  map[string]int `json:"dims"`
	FLOP  float64        `json:"flop"`
	Bytes float64        `json:"bytes"` // from and to memory, each once
}

// Shape is the dimensions in one word order: T before N before M.
func (c Case) Shape() string {
	names := []string{"T", "S", "L", "B", "new", "N", "M", "H", "K", "D", "C", "F", "R", "V", "n"}
	var parts []string
	for _, n := range names {
		if v, ok := c.Dims[n]; ok {
			parts = append(parts, fmt.Sprintf("%s %d", n, v))
		}
	}
	return strings.Join(parts, " ")
}

type dims = map[string]int

// newCase counts the work of an operation on bf16, as a GPU does it.
func newCase(goal, op string, d dims) Case { return caseOf(goal, op, d, kernels.BF16) }

// caseOf counts the work of an operation on activations and weights of a type.
func caseOf(goal, op string, d dims, dtype kernels.DType) Case {
	flop, bytes := operationOf(op).work(sizesOf(d, dtype))
	return Case{Goal: goal, Op: op, Dims: d, FLOP: float64(flop), Bytes: float64(bytes)}
}

// readDims reads dimensions as Shape prints them.
func readDims(shape string) dims {
	words, d := strings.Fields(shape), dims{}
	for i := 0; i+1 < len(words); i += 2 {
		n, err := strconv.Atoi(words[i+1])
		if err != nil {
			panic(fmt.Sprintf("bench: shape %q: %v", shape, err))
		}
		d[words[i]] = n
	}
	return d
}

// GPUCases are the shapes that the goals speak of: of Qwen2.5-0.5B, 1.5B and 7B, at lengths of reinforcement learning with tools.
func GPUCases() (all []Case) {
	for line := range strings.Lines(goals) {
		name, shape, _ := strings.Cut(line, ":")
		goal, op, _ := strings.Cut(name, " ")
		all = append(all, newCase(goal, op, readDims(shape)))
	}
	return all
}

// goals are a case a line: its line in the table of goals, the operation, the dimensions.
const goals = `h1 linear: T 4096 N 4096 M 4096
h1 linear: T 8192 N 8192 M 8192
h1 linear: T 8192 N 17920 M 1536
h1 linear dx: T 8192 N 17920 M 1536
h1 linear dw: T 8192 N 17920 M 1536
h2 linear: T 1 N 37888 M 3584
h2 linear: T 32 N 37888 M 3584
h2 linear: T 64 N 37888 M 3584
a1 attention: S 4 L 4096 H 16 K 16 D 128
a1 attention: S 2 L 8192 H 16 K 16 D 128
a1 attention: S 1 L 16384 H 16 K 16 D 128
a1 attention: S 2 L 8192 H 28 K 4 D 128
a2 attention: S 2 L 8192 H 32 K 32 D 64
a2 attention: S 2 L 8192 H 14 K 2 D 64
a3 attention backward: S 2 L 8192 H 16 K 16 D 128
a3 attention backward: S 2 L 8192 H 14 K 2 D 64
b1 paged attention: L 4096 B 1 new 1 H 28 K 4 D 128
b1 paged attention: L 4096 B 8 new 1 H 28 K 4 D 128
b1 paged attention: L 4096 B 32 new 1 H 28 K 4 D 128
b1 paged attention: L 4096 B 128 new 1 H 28 K 4 D 128
b1 paged attention: L 1024 B 128 new 1 H 14 K 2 D 64
b2 paged attention: L 4096 B 8 new 256 H 28 K 4 D 128
c rope: T 16384 H 28 K 4 D 128
c rope norm: T 16384 H 32 K 8 D 128
c append kv: T 16384 K 4 D 128
d1 head: C 1536 R 512 V 151936
d1 logprob: R 512 V 151936
d2 logprob backward: R 512 V 151936
e policy loss: R 65536
f1 rmsnorm: T 16384 C 1536
f1 rmsnorm: T 16384 C 3584
f1 rmsnorm add: T 16384 C 3584
f1 rmsnorm backward: T 16384 C 3584
f1 add: T 16384 C 3584
f1 embed: T 16384 C 3584
f1 swiglu: T 16384 F 8960
f1 swiglu backward: T 16384 F 8960
f2 adamw: n 67108864
f2 sum of squares: n 67108864
f2 sum tree: R 8 n 8388608
g sample: R 64 V 151936
`

// HopperCases are those of the cases that have kernels for sm_90a.
func HopperCases(cases []Case) []Case {
	return slices.DeleteFunc(slices.Clone(cases), func(c Case) bool { return !operationOf(c.Op).hopper })
}

// SmokeCases are the operations at the shapes of the emulator.
func SmokeCases() (all []Case) {
	for _, o := range operations {
		for shape := range strings.SplitSeq(o.smoke, ";") {
			if shape != "" {
				all = append(all, newCase("", o.name, readDims(shape)))
			}
		}
	}
	return all
}
