package arith

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"

	"retool/trainer/data"
)

// A Split is one of two disjoint sets of problems. No operands occur in both, whatever the wording and, where a family does
// not care about it, whatever their order.
type Split int

const (
	Train Split = iota // nine problems in ten
	Test
)

func (s Split) String() string {
	switch s {
	case Train:
		return "train"
	case Test:
		return "test"
	}
	return fmt.Sprintf("Split(%d)", int(s))
}

// A Task is a list of families and how their problems are worded and worked. It is immutable.
type Task struct {
	families []family
	leads    []lead
	// inHead is a response without code: it says how d is solved and answers.
	inHead func(w *writer, d drawn)
}

// Arithmetic is what a model of a million parameters cannot do in its head.
var Arithmetic = &Task{families: families, leads: leads, inHead: guessed}

// Tasks are the embedded tasks by the names that settings know.
var Tasks = map[string]*Task{"arithmetic": Arithmetic, "word-problems": WordProblems}

// draws is how often a problem is drawn again to find one that was not given out before. The smallest family holds some
// 4,000 test problems (of Arithmetic; 30 of WordProblems), so a caller sees a repetition only when it asks for more than there are.
const draws = 1000

// Problems returns n problems of one split. They are all different for any n up to several tens of thousands (WordProblems: 3,000, of
// Test 300), in every run of ten problems each family occurs once, and a larger n continues the same list.
func (t *Task) Problems(seed uint64, split Split, n int) []data.Problem {
	ps := make([]data.Problem, 0, n)
	t.each(seed, split, n, func(d drawn, _ *rand.Rand) { ps = append(ps, d.Problem) })
	return ps
}

// drawn is a problem together with how to solve it.
type drawn struct {
	data.Problem
	calls []call
	steps []string // of a solution by hand, in families that have one
}

// each calls f with n problems and a source of random numbers for whatever else is made of each.
func (t *Task) each(seed uint64, split Split, n int, f func(drawn, *rand.Rand)) {
	if split != Train && split != Test {
		panic(fmt.Sprintf("arith: %v is neither Train nor Test", split))
	}
	r := rand.New(rand.NewPCG(seed, uint64(split)))
	seen := make(map[string]bool, n)
	order := make([]int, len(t.families))
	for i := range n {
		if i%len(t.families) == 0 {
			for j := range order {
				order[j] = j
			}
			r.Shuffle(len(order), func(a, b int) { order[a], order[b] = order[b], order[a] })
		}
		f(t.draw(r, &t.families[order[i%len(t.families)]], split, seen), r)
	}
}

// draw returns a problem that is not in seen, and adds it; see draws.
func (t *Task) draw(r *rand.Rand, fam *family, split Split, seen map[string]bool) drawn {
	for try := 0; ; try++ {
		ops := fam.draw(r)
		if ops == nil || splitOf(fam, ops) != split {
			continue
		}
		id := fam.name + ordered(ops)
		if seen[id] && try < draws {
			continue
		}
		calls := fam.solve(ops)
		if !copyable(ops, calls) {
			continue
		}
		seen[id] = true
		d := drawn{calls: calls}
		d.Problem = data.Problem{ID: id, Family: fam.name, Question: t.ask(r, fam, ops), Answer: calls[len(calls)-1].output}
		if fam.steps != nil {
			d.steps = fam.steps(ops)
		}
		return d
	}
}

// splitOf decides by the hash of the operands: one in ten is for tests.
func splitOf(fam *family, ops []int) Split {
	key := fam.name + ordered(ops)
	if fam.key != nil {
		key = fam.key(ops)
	}
	hash := fnv.New64a()
	hash.Write([]byte(key))
	h := hash.Sum64()
	// FNV's lowest bit is the parity of the key's digits, which would make all test operands alike; this mixes it with the others.
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	if h%10 == 0 {
		return Test
	}
	return Train
}

// copyable reports whether no number to be copied holds a digit three times in a row.
func copyable(ops []int, calls []call) bool {
	for _, n := range ops {
		if hasRun(strconv.Itoa(n)) {
			return false
		}
	}
	for _, c := range calls {
		if !c.fails && hasRun(c.output) {
			return false
		}
	}
	return true
}

func hasRun(s string) bool {
	for i := 2; i < len(s); i++ {
		if s[i] == s[i-1] && s[i] == s[i-2] {
			return true
		}
	}
	return false
}

// ask words the question.
func (t *Task) ask(r *rand.Rand, fam *family, ops []int) string {
	wording := fam.wordings[r.IntN(len(fam.wordings))]
	if !sentence(wording) {
		l := t.leads[r.IntN(len(t.leads))]
		wording = l.text + wording + l.end
	}
	for _, s := range slots {
		if strings.Contains(wording, s.place) {
			wording = strings.ReplaceAll(wording, s.place, s.texts[r.IntN(len(s.texts))])
		}
	}
	for i, n := range ops {
		wording = strings.ReplaceAll(wording, "{"+strconv.Itoa(i)+"}", strconv.Itoa(n))
	}
	return wording
}

// sentence reports whether a wording stands by itself, rather than after a lead.
func sentence(wording string) bool {
	return strings.HasSuffix(wording, ".") || strings.HasSuffix(wording, "?")
}
