package arith

import (
	"fmt"
	"math/rand/v2"
	"strconv"
)

// A family is one kind of problem. Its operands are small integers, in the order in which the wordings name them.
type family struct {
	name string
	// draw returns operands, or nil for a draw that the family does not want; the caller draws again.
	draw func(r *rand.Rand) []int
	// key is what decides the split, for families in which different operands make the same problem. Nil: the operands.
	key func(ops []int) string
	// wordings hold {0}, {1}, … for the operands. One that ends in a full stop or a question mark is a whole sentence; any
	// other is a noun phrase that takes one of the leads.
	wordings []string
	// solve returns the calls that lead to the answer. The answer is what the last call prints.
	solve func(ops []int) []call
	// steps returns the equations of a solution by hand, the last of which has the answer on its right. Nil: the family has none.
	steps func(ops []int) []string
}

// A call is a snippet and what the interpreter makes of it.
type call struct {
	setup  string // lines before the expression: an import, an assignment; ends in a newline or is empty
	expr   string // the expression that is printed
	output string // what the call prints; with fails, the last line of the traceback
	fails  bool   // the call raises an error although nothing is wrong with the way it is written
}

func (c call) code() string { return c.setup + "print(" + c.expr + ")" }

// A lead turns a noun phrase into a request.
type lead struct{ text, end string }

var leads = []lead{{"What is ", "?"}, {"Compute ", "."}, {"Find ", "."}, {"Give ", "."}}

const (
	importGCD = "from math import gcd\n"
	importLCM = "from math import lcm\n"
	noInverse = "ValueError: base is not invertible for the given modulus"
)

// families is in the order in which the task was built; problem identities depend on the names only.
var families = []family{
	{
		name: "product",
		draw: func(r *rand.Rand) []int { return drawProduct(r, 4999) },
		key:  func(ops []int) string { return productKey(ops[0], ops[1]) },
		wordings: []string{
			"{0} times {1}", "the product of {0} and {1}", "{0} multiplied by {1}", "Multiply {0} by {1}.",
		},
		solve: func(ops []int) []call {
			return []call{{expr: fmt.Sprintf("%d*%d", ops[0], ops[1]), output: strconv.Itoa(ops[0] * ops[1])}}
		},
	},
	{
		name: "determinant",
		draw: func(r *rand.Rand) []int {
			return []int{between(r, 101, 999), between(r, 12, 99), between(r, 12, 99), between(r, 12, 99)}
		},
		wordings: []string{
			"{0} times {3} minus {1} times {2}", "the determinant of the rows {0}, {1} and {2}, {3}",
			"Subtract {1} times {2} from {0} times {3}.",
		},
		solve: func(ops []int) []call {
			a, b, c, d := ops[0], ops[1], ops[2], ops[3]
			return []call{{expr: fmt.Sprintf("%d*%d-%d*%d", a, d, b, c), output: strconv.Itoa(a*d - b*c)}}
		},
	},
	{
		name: "remainder",
		draw: func(r *rand.Rand) []int { return []int{between(r, 10007, 999983), between(r, 53, 997)} },
		wordings: []string{
			"{0} modulo {1}", "the remainder of {0} divided by {1}", "Divide {0} by {1}. What is left?",
			"What remains when {0} is divided by {1}?",
		},
		solve: func(ops []int) []call {
			return []call{{expr: fmt.Sprintf("%d%%%d", ops[0], ops[1]), output: strconv.Itoa(ops[0] % ops[1])}}
		},
	},
	{
		name: "power",
		draw: func(r *rand.Rand) []int {
			ops := []int{between(r, 12, 99), between(r, 12, 99), between(r, 101, 997)}
			if powMod(ops[0], ops[1], ops[2]) < 10 { // 0 and 1 are the residues that can be guessed
				return nil
			}
			return ops
		},
		wordings: []string{
			"{0} to the power {1} modulo {2}", "the remainder of {0} to the power {1} divided by {2}",
			"Raise {0} to the power {1} and reduce modulo {2}.",
		},
		solve: func(ops []int) []call {
			return []call{{
				expr:   fmt.Sprintf("pow(%d,%d,%d)", ops[0], ops[1], ops[2]),
				output: strconv.Itoa(powMod(ops[0], ops[1], ops[2])),
			}}
		},
	},
	{
		name: "gcd",
		draw: func(r *rand.Rand) []int { return multiples(r, between(r, 12, 99), 11, 99) },
		key:  unordered,
		wordings: []string{
			"the greatest common divisor of {0} and {1}", "the gcd of {0} and {1}",
			"the largest number that divides both {0} and {1}",
		},
		solve: func(ops []int) []call { return []call{gcdCall(ops[0], ops[1])} },
	},
	{
		name: "lcm",
		draw: func(r *rand.Rand) []int {
			ops := multiples(r, between(r, 2, 19), 5, 60)
			if ops == nil || lcm(ops[0], ops[1]) < 1000 {
				return nil
			}
			return ops
		},
		key: unordered,
		wordings: []string{
			"the least common multiple of {0} and {1}", "the lcm of {0} and {1}",
			"the smallest number that both {0} and {1} divide",
		},
		solve: func(ops []int) []call {
			return []call{{
				setup:  importLCM,
				expr:   fmt.Sprintf("lcm(%d,%d)", ops[0], ops[1]),
				output: strconv.Itoa(lcm(ops[0], ops[1])),
			}}
		},
	},
	{
		name: "divisors",
		draw: func(r *rand.Rand) []int {
			n := between(r, 1000, 99999)
			if count, _ := divisors(n); count < 6 { // the divisor sum of a prime or nearly prime number is nearly itself
				return nil
			}
			return []int{n}
		},
		wordings: []string{
			"the sum of all divisors of {0}", "the divisor sum of {0}", "Add up all divisors of {0}.",
		},
		solve: func(ops []int) []call {
			_, sum := divisors(ops[0])
			return []call{{
				setup:  fmt.Sprintf("n=%d\n", ops[0]),
				expr:   "sum(d for d in range(1,n+1) if n%d==0)",
				output: strconv.Itoa(sum),
			}}
		},
	},
	{
		name: "series",
		draw: func(r *rand.Rand) []int {
			return []int{between(r, 12, 499), between(r, 1000, 4999), between(r, 12, 79)}
		},
		wordings: []string{
			"the sum of the numbers from {0} to {1} in steps of {2}", "Count from {0} to {1} in steps of {2} and add up.",
			"In steps of {2}, go from {0} to {1}. What is the sum?",
		},
		solve: func(ops []int) []call {
			sum := 0
			for k := ops[0]; k <= ops[1]; k += ops[2] {
				sum += k
			}
			return []call{{
				expr:   fmt.Sprintf("sum(range(%d,%d+1,%d))", ops[0], ops[1], ops[2]),
				output: strconv.Itoa(sum),
			}}
		},
	},
	{
		name: "inverse",
		draw: func(r *rand.Rand) []int {
			// About a third has no inverse. Then the common divisor is the answer, and at least 11.
			if r.IntN(3) == 0 {
				ops := multiples(r, between(r, 11, 49), 2, 40)
				if ops == nil || max(ops[0], ops[1]) > 999 {
					return nil
				}
				return []int{min(ops[0], ops[1]), max(ops[0], ops[1])}
			}
			m := between(r, 101, 999)
			x := between(r, 12, m-1)
			if gcd(x, m) != 1 {
				return nil
			}
			return []int{x, m}
		},
		wordings: []string{
			"the inverse of {0} modulo {1}, or their gcd if there is none", "Invert {0} modulo {1}. If that fails, give their gcd.",
			"Which number times {0} is one modulo {1}? If none, give their gcd.",
		},
		solve: func(ops []int) []call {
			x, m := ops[0], ops[1]
			first := call{expr: fmt.Sprintf("pow(%d,-1,%d)", x, m)}
			if gcd(x, m) == 1 {
				first.output = strconv.Itoa(inverse(x, m))
				return []call{first}
			}
			first.output, first.fails = noInverse, true
			return []call{first, gcdCall(x, m)}
		},
	},
	{
		name: "chain",
		draw: func(r *rand.Rand) []int {
			ops := drawProduct(r, 999)
			if ops == nil {
				return nil
			}
			return append(ops, between(r, 53, 997))
		},
		// The first call of a chain prints a product: were it split by all three operands, training traces would show the
		// answers of test products.
		key: func(ops []int) string { return productKey(ops[0], ops[1]) },
		wordings: []string{
			"{0} times {1}, and then that modulo {2}", "the product of {0} and {1}, and then that modulo {2}",
			"Multiply {0} by {1}, then divide by {2}. What is left?",
		},
		solve: func(ops []int) []call {
			p := ops[0] * ops[1]
			return []call{
				{expr: fmt.Sprintf("%d*%d", ops[0], ops[1]), output: strconv.Itoa(p)},
				{expr: fmt.Sprintf("%d%%%d", p, ops[2]), output: strconv.Itoa(p % ops[2])},
			}
		},
	},
}

func gcdCall(a, b int) call {
	return call{setup: importGCD, expr: fmt.Sprintf("gcd(%d,%d)", a, b), output: strconv.Itoa(gcd(a, b))}
}

// drawProduct returns two factors, the first at most limit, with a product below a million.
func drawProduct(r *rand.Rand, limit int) []int {
	a, b := between(r, 101, limit), between(r, 101, 999)
	if a*b >= 1_000_000 {
		return nil
	}
	return []int{a, b}
}

// multiples returns two different multiples of g, by coprime factors in [low, high], so that g is their greatest common divisor.
func multiples(r *rand.Rand, g, low, high int) []int {
	u, v := between(r, low, high), between(r, low, high)
	if u == v || gcd(u, v) != 1 {
		return nil
	}
	return []int{g * u, g * v}
}

func productKey(a, b int) string { return "product" + unordered([]int{a, b}) }

func unordered(ops []int) string { return ordered([]int{min(ops[0], ops[1]), max(ops[0], ops[1])}) }

func ordered(ops []int) string {
	var b []byte
	for _, n := range ops {
		b = strconv.AppendInt(append(b, '-'), int64(n), 10)
	}
	return string(b)
}

// between returns an integer in [low, high].
func between(r *rand.Rand, low, high int) int { return low + r.IntN(high-low+1) }

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func lcm(a, b int) int { return a / gcd(a, b) * b }

// powMod returns x^e mod m.
func powMod(x, e, m int) int {
	y := 1
	for x %= m; e > 0; e >>= 1 {
		if e&1 == 1 {
			y = y * x % m
		}
		x = x * x % m
	}
	return y
}

// inverse returns y in [0, m) with x·y ≡ 1 mod m. x and m have no common divisor. Extended Euclid.
func inverse(x, m int) int {
	a, b, s, t := x, m, 1, 0 // a ≡ s·x, b ≡ t·x mod m
	for b != 0 {
		q := a / b
		a, b, s, t = b, a-q*b, t, s-q*t
	}
	return (s%m + m) % m
}

// divisors returns how many divisors n has, and their sum.
func divisors(n int) (count, sum int) {
	for d := 1; d*d <= n; d++ {
		if n%d != 0 {
			continue
		}
		count, sum = count+1, sum+d
		if e := n / d; e != d {
			count, sum = count+1, sum+e
		}
	}
	return count, sum
}
