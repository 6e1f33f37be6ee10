package arith

import (
	"fmt"
	"math/big"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"retool/trainer/data"
)

func TestProblemsRepeatAndContinue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		split := rapid.SampledFrom([]Split{Train, Test}).Draw(t, "split")
		n := rapid.IntRange(0, 60).Draw(t, "n")
		more := Arithmetic.Problems(seed, split, n+rapid.IntRange(0, 40).Draw(t, "more"))
		if got := Arithmetic.Problems(seed, split, n); !reflect.DeepEqual(got, more[:n]) {
			t.Fatalf("the first %d of %d problems differ from %d problems of the same seed", n, len(more), n)
		}
	})
	if reflect.DeepEqual(Arithmetic.Problems(1, Train, 10), Arithmetic.Problems(2, Train, 10)) {
		t.Error("two seeds give the same problems")
	}
}

// The list a seed gives is part of every recorded run: changing it must be meant.
func TestProblemsOfSeedOne(t *testing.T) {
	want := []string{
		"What is the sum of all divisors of 50409? 74720",
		"Raise 25 to the power 89 and reduce modulo 319. 136",
		"Give the determinant of the rows 529, 86 and 23, 97. 49335",
		"Find 466 times 313, and then that modulo 786. 448",
	}
	for i, p := range Arithmetic.Problems(1, Train, len(want)) {
		if got := p.Question + " " + p.Answer; got != want[i] {
			t.Errorf("problem %d is %q, want %q", i, got, want[i])
		}
	}
}

func TestEveryTenProblemsHoldEveryFamily(t *testing.T) {
	ps := Arithmetic.Problems(7, Train, 200)
	for i := 0; i < len(ps); i += len(families) {
		seen := map[string]bool{}
		for _, p := range ps[i : i+len(families)] {
			seen[p.Family] = true
		}
		if len(seen) != len(families) {
			t.Fatalf("problems %d to %d are of %d families, want %d", i, i+len(families)-1, len(seen), len(families))
		}
	}
}

// operands reads the numbers out of a question; the result is canonical for the families whose order does not matter.
func operands(p data.Problem) string {
	nums := regexp.MustCompile(`\d+`).FindAllString(p.Question, -1)
	ops := make([]int, len(nums))
	for i, s := range nums {
		ops[i], _ = strconv.Atoi(s)
	}
	switch p.Family {
	case "product", "gcd", "lcm":
		if ops[0] > ops[1] {
			ops[0], ops[1] = ops[1], ops[0]
		}
	case "chain":
		if ops = ops[:2]; ops[0] > ops[1] {
			ops[0], ops[1] = ops[1], ops[0]
		}
	case "series":
		if strings.HasPrefix(p.Question, "In steps") {
			ops = []int{ops[1], ops[2], ops[0]}
		}
	case "determinant":
		switch {
		case strings.HasPrefix(p.Question, "Subtract"):
			ops = []int{ops[2], ops[0], ops[1], ops[3]}
		case strings.Contains(p.Question, "minus"):
			ops = []int{ops[0], ops[2], ops[3], ops[1]}
		}
	}
	return fmt.Sprint(ops)
}

func TestSplitsShareNoOperands(t *testing.T) {
	train := map[string]map[string]string{}
	const n = 30000
	for _, p := range Arithmetic.Problems(1, Train, n) {
		if train[p.Family] == nil {
			train[p.Family] = map[string]string{}
		}
		train[p.Family][operands(p)] = p.Question
	}
	// A product that is the first step of a chain is an answer shown in training.
	for ops, q := range train["chain"] {
		train["product"][ops] = q
	}
	counted := map[string]int{}
	for _, p := range Arithmetic.Problems(2, Test, n) {
		counted[p.Family]++
		if q, ok := train[p.Family][operands(p)]; ok {
			t.Fatalf("test problem %q has the operands of training problem %q", p.Question, q)
		}
	}
	for _, f := range families {
		if counted[f.name] != n/len(families) {
			t.Errorf("%s: %d test problems, want %d", f.name, counted[f.name], n/len(families))
		}
	}
}

// Two seeds of one split do meet, so the test above would notice a split that is not one.
func TestOneSplitRepeatsItselfAcrossSeeds(t *testing.T) {
	first := map[string]bool{}
	for _, p := range Arithmetic.Problems(1, Test, 20000) {
		first[p.ID] = true
	}
	common := 0
	for _, p := range Arithmetic.Problems(2, Test, 20000) {
		if first[p.ID] {
			common++
		}
	}
	if common < 200 {
		t.Errorf("two lists of 20000 test problems share %d: the split cannot be tested by looking for common ones", common)
	}
}

func TestProblemsAreDistinctAndOneInTenIsForTests(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range Arithmetic.Problems(3, Test, 20000) {
		if seen[p.ID] {
			t.Fatalf("%s occurs twice", p.ID)
		}
		seen[p.ID] = true
	}
	r := newRand(1)
	for i := range families {
		test, all := 0, 0
		for all < 20000 {
			if ops := families[i].draw(r); ops != nil {
				all++
				if splitOf(&families[i], ops) == Test {
					test++
				}
			}
		}
		if share := float64(test) / float64(all); share < 0.08 || share > 0.12 {
			t.Errorf("%s: %.1f %% of the draws are for tests, want 10", families[i].name, 100*share)
		}
	}
}

// Answers once more, by math/big and by definition.
func TestAnswers(t *testing.T) {
	n := func(s string) *big.Int { v, _ := new(big.Int).SetString(s, 10); return v }
	for _, p := range append(Arithmetic.Problems(5, Train, 2000), Arithmetic.Problems(5, Test, 500)...) {
		var ops []*big.Int
		for _, s := range strings.Split(strings.TrimPrefix(p.ID, p.Family+"-"), "-") {
			ops = append(ops, n(s))
		}
		z := new(big.Int)
		switch p.Family {
		case "product":
			z.Mul(ops[0], ops[1])
		case "determinant":
			z.Sub(z.Mul(ops[0], ops[3]), new(big.Int).Mul(ops[1], ops[2]))
		case "remainder":
			z.Mod(ops[0], ops[1])
		case "power":
			z.Exp(ops[0], ops[1], ops[2])
		case "gcd":
			z.GCD(nil, nil, ops[0], ops[1])
		case "lcm":
			z.Div(new(big.Int).Mul(ops[0], ops[1]), new(big.Int).GCD(nil, nil, ops[0], ops[1]))
		case "divisors":
			for d := int64(1); d <= ops[0].Int64(); d++ {
				if ops[0].Int64()%d == 0 {
					z.Add(z, big.NewInt(d))
				}
			}
		case "series":
			// first + last over two, times their number
			count := (ops[1].Int64()-ops[0].Int64())/ops[2].Int64() + 1
			last := ops[0].Int64() + (count-1)*ops[2].Int64()
			z.SetInt64((ops[0].Int64() + last) * count / 2)
		case "inverse":
			if z.ModInverse(ops[0], ops[1]) == nil {
				z = new(big.Int).GCD(nil, nil, ops[0], ops[1])
			}
		case "chain":
			z.Mod(z.Mul(ops[0], ops[1]), ops[2])
		default:
			t.Fatalf("no reference for family %q", p.Family)
		}
		if z.String() != p.Answer {
			t.Fatalf("%s %q: answer %s, want %v", p.ID, p.Question, p.Answer, z)
		}
	}
}

func TestNoConstantGuessIsOftenRight(t *testing.T) {
	count, total := map[string]map[string]int{}, map[string]int{}
	for _, p := range Arithmetic.Problems(11, Test, 20000) {
		if count[p.Family] == nil {
			count[p.Family] = map[string]int{}
		}
		count[p.Family][p.Answer]++
		total[p.Family]++
	}
	for f, answers := range count {
		for a, c := range answers {
			if share := float64(c) / float64(total[f]); share > 0.03 {
				t.Errorf("%s: %s is the answer of %.1f %% of the problems", f, a, 100*share)
			}
		}
	}
}

func TestNumbersAreShortAndWithoutRuns(t *testing.T) {
	number := regexp.MustCompile(`\d+`)
	for _, p := range Arithmetic.Problems(4, Train, 5000) {
		ops := number.FindAllString(p.Question, -1)
		for _, s := range ops {
			if len(s) < 2 || len(s) > 6 || hasRun(s) {
				t.Fatalf("%q: operand %s", p.Question, s)
			}
		}
		if len(p.Answer) > 6 || hasRun(p.Answer) {
			t.Fatalf("%q: answer %s", p.Question, p.Answer)
		}
	}
	for s, want := range map[string]bool{"11": false, "1122": false, "111": true, "90005": true, "50005": true, "5055": false, "": false} {
		if hasRun(s) != want {
			t.Errorf("hasRun(%q) = %v", s, !want)
		}
	}
}

func TestEveryWordingOccurs(t *testing.T) {
	shapes := map[string]map[string]bool{}
	number := regexp.MustCompile(`\d+`)
	for _, p := range Arithmetic.Problems(1, Train, 4000) {
		if shapes[p.Family] == nil {
			shapes[p.Family] = map[string]bool{}
		}
		shapes[p.Family][number.ReplaceAllString(p.Question, "N")] = true
	}
	for _, f := range families {
		want := 0
		for _, w := range f.wordings {
			if sentence(w) {
				want++
			} else {
				want += len(leads)
			}
		}
		if got := len(shapes[f.name]); got != want || len(f.wordings) < 3 {
			t.Errorf("%s: %d shapes of question, want %d of at least 3 wordings", f.name, got, want)
		}
	}
}
