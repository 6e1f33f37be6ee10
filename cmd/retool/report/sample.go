package report

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"retool/trainer/trace"
)

// trainPhase is the phase of records that were trained on; every other phase is an evaluation's name.
const trainPhase = "train"

type phaseStep struct {
	Phase string
	Step  int
}

// group is the records of one step's rollouts, or of one evaluation.
type group struct {
	phaseStep
	run       int
	all       int
	problems  int // different ones
	behaviour trace.Behaviour
	checked   bool // rollout and training log-probabilities were compared
	shown     bool // entries are candidates for the page

	correct, codeCorrect, codeWrong, failed int // responses: right; right and wrong ones with code; with a failed snippet

	entries []entry
}

// entry is what sampling needs to know of a record.
type entry struct {
	line    int // of trajectories.jsonl, from 0
	key     int64
	problem string
	family  string
	class   string // what became of it
}

// traits are the filters of spec §4.4, by the definitions of trace.Behave: a call counts when it held code.
type traits struct {
	code        bool // at least one snippet
	failed      bool // a snippet ran and failed
	fixed       bool // and a later one ran to its end
	passed      bool // the last snippet ran to its end
	passedWrong bool // and the answer is not right
}

func traitsOf(r *trace.Record) traits {
	var t traits
	for _, c := range r.Calls {
		if c.Code == "" {
			continue
		}
		t.code = true
		if t.passed = c.OK(); t.passed {
			t.fixed = t.fixed || t.failed
		} else if c.Ran() {
			t.failed = true
		}
	}
	t.passedWrong = t.passed && r.Outcome != "correct"
	return t
}

// columns are the behaviour metrics of spec §4.2. A rate of nothing is not a number.
func (g *group) columns() map[string]float64 {
	b := g.behaviour
	of := func(x float64, n int) float64 {
		if n == 0 {
			return math.NaN()
		}
		return x
	}
	n := float64(max(b.Responses, 1))
	return map[string]float64{
		"responses":            float64(b.Responses),
		"length":               of(b.ResponseLength, b.Responses),
		"length_sampled":       of(b.ResponseLengthSampled, b.Responses),
		"code_ratio":           of(b.CodeRatio, b.Responses),
		"code_lines":           of(b.CodeLines, b.Responses),
		"code_lines_with_code": of(b.CodeLinesWithCode, b.Snippets),
		"correct_code":         100 * float64(b.CorrectCodeCount) / n,
		"correct_code_count":   float64(b.CorrectCodeCount),
		"snippets":             float64(b.Snippets),
		"pass_correct":         of(b.CodePassCorrect, g.codeCorrect),
		"pass_wrong":           of(b.CodePassWrong, g.codeWrong),
		"timing":               of(b.CodeTiming, b.Snippets),
		"timing_first":         of(b.CodeTimingFirst, b.Snippets),
		"fixed":                of(b.FixedRate, g.failed),
		"turns":                of(b.Turns, b.Responses),
	}
}

// shown says which training steps may give trajectories to the page: the first, the middle and the last.
func shown(rl []trace.Metrics) map[int]bool {
	s := map[int]bool{}
	if n := len(rl); n > 0 {
		s[rl[0].Step], s[rl[n/2].Step], s[rl[n-1].Step] = true, true, true
	}
	return s
}

// survey reads a trajectory log once: the behaviour of every group, and entries of those that may be shown. It holds the records of
// one group at a time. A log that is not there is a run without trajectories.
func survey(path string, run int, steps, checked map[int]bool) (groups []*group, torn string, err error) {
	var records []trace.Record
	line := 0
	close := func() {
		if len(groups) == 0 {
			return
		}
		g := groups[len(groups)-1]
		g.behaviour = trace.Behave(records)
		seen := map[string]bool{}
		for i := range records {
			r := &records[i]
			seen[r.Problem] = true
			if r.Finish == "sandbox_error" {
				continue
			}
			t, correct := traitsOf(r), r.Outcome == "correct"
			switch {
			case correct:
				g.correct++
				if t.code {
					g.codeCorrect++
				}
			case t.code:
				g.codeWrong++
			}
			if t.failed {
				g.failed++
			}
		}
		g.problems = len(seen)
		records = records[:0]
	}
	torn, err = trace.Read(path, func(r trace.Record) error {
		at := phaseStep{r.Phase, r.Step}
		if len(groups) == 0 || groups[len(groups)-1].phaseStep != at {
			close()
			trained := r.Phase == trainPhase
			groups = append(groups, &group{phaseStep: at, run: run, shown: !trained || steps[r.Step], checked: trained && checked[r.Step]})
		}
		g := groups[len(groups)-1]
		g.all++
		if g.shown {
			t := traitsOf(&r)
			g.entries = append(g.entries, entry{line, r.Key, r.Problem, r.Family,
				fmt.Sprint(r.Outcome, r.Finish == "sandbox_error", t.code, t.fixed, t.passedWrong)})
		}
		r.LogProbs, r.Pieces = nil, nil // Behave needs neither
		records = append(records, r)
		line++
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("report: %w", err)
	}
	close()
	return groups, torn, nil
}

// pick is a record chosen for the page.
type pick struct {
	run, line int
	checked   bool
}

// choose takes at most limit records, equally many of each group where they have them, best first: a prefix is a good choice too.
// Evaluations show the same problems, those chosen from the last one of the first run.
func choose(groups []*group, limit int) []pick {
	groups = slices.DeleteFunc(slices.Clone(groups), func(g *group) bool { return !g.shown || len(g.entries) == 0 })
	if most := max(limit/4, 1); len(groups) > most { // at least four of each: some groups stand for their neighbours
		thin := make([]*group, most)
		for i := range thin {
			thin[i] = groups[i*(len(groups)-1)/max(most-1, 1)]
		}
		groups = thin
	}
	var problems []string
	for _, g := range groups {
		if g.Phase != trainPhase && g.run == 0 {
			problems = nil
			for _, e := range balanced(g.entries) {
				if !slices.Contains(problems, e.problem) {
					problems = append(problems, e.problem)
				}
				if len(problems) == limit {
					break
				}
			}
		}
	}
	lists := make([][]pick, len(groups))
	for i, g := range groups {
		entries := balanced(g.entries)
		if g.Phase != trainPhase {
			rank := map[string]int{}
			for i, p := range problems {
				rank[p] = i
			}
			once := map[string]bool{}
			place := make(map[int]int, len(entries)) // a problem's first sample goes to the problem's place, the rest behind
			for i, e := range entries {
				if r, ok := rank[e.problem]; ok && !once[e.problem] {
					once[e.problem], place[e.line] = true, r
				} else {
					place[e.line] = len(problems) + i
				}
			}
			slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(place[a.line], place[b.line]) })
		}
		for _, e := range entries {
			lists[i] = append(lists[i], pick{g.run, e.line, g.checked})
		}
	}
	all := interleave(lists)
	return all[:min(limit, len(all))]
}

// balanced orders entries so that any prefix holds every class, and of each class every family, about equally often. The order
// within is that of hashed keys: arbitrary, but the same every time.
func balanced(entries []entry) []entry {
	hash := func(e entry) uint64 {
		h := fnv.New64a()
		h.Write(strconv.AppendInt(nil, e.key, 10))
		return h.Sum64()
	}
	sorted := slices.Clone(entries)
	slices.SortFunc(sorted, func(a, b entry) int { return cmp.Or(cmp.Compare(hash(a), hash(b)), cmp.Compare(a.line, b.line)) })
	var classes [][]entry
	for _, class := range partition(sorted, func(e entry) string { return e.class }) {
		classes = append(classes, interleave(partition(class, func(e entry) string { return e.family })))
	}
	return interleave(classes)
}

// partition splits by name, in the order of the names.
func partition(entries []entry, name func(entry) string) [][]entry {
	parts := map[string][]entry{}
	for _, e := range entries {
		parts[name(e)] = append(parts[name(e)], e)
	}
	var out [][]entry
	for _, k := range slices.Sorted(maps.Keys(parts)) {
		out = append(out, parts[k])
	}
	return out
}

// interleave takes the first of each list, then the second of each, and so on.
func interleave[T any](lists [][]T) []T {
	var out []T
	for i, more := 0, true; more; i++ {
		more = false
		for _, l := range lists {
			if i < len(l) {
				out, more = append(out, l[i]), true
			}
		}
	}
	return out
}

// collect reads the chosen records again and encodes them, in order of preference until they fill the bytes. The result begins with
// what the trained policy did: first run before second, late steps before early ones, within a step the order of the log.
func collect(runs []Run, picks []pick, dict *dictionary, bytes int) ([]trajectory, error) {
	records := map[pick]trace.Record{}
	for i, run := range runs {
		wanted := map[int]pick{}
		for _, p := range picks {
			if p.run == i {
				wanted[p.line] = p
			}
		}
		if len(wanted) == 0 {
			continue
		}
		line := 0
		path := run.Dir + "/trajectories.jsonl"
		_, err := trace.Read(path, func(raw jsontext.Value) error { // survey has named a torn line
			p, ok := wanted[line]
			line++
			if !ok {
				return nil
			}
			var r trace.Record
			err := trace.Unmarshal(raw, &r)
			records[p] = r
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("report: %w", err)
		}
	}
	type placed struct {
		pick
		trajectory
	}
	var out []placed
	for _, p := range picks {
		r := records[p]
		if err := check(&r); err != nil {
			return nil, fmt.Errorf("report: %s/trajectories.jsonl:%d: %w", runs[p.run].Dir, p.line+1, err)
		}
		t, size, err := dict.encode(&r, p)
		if err != nil {
			return nil, err
		}
		if bytes -= size; bytes < 0 && len(out) > 0 {
			break
		}
		out = append(out, placed{p, t})
	}
	order := func(phase string) int { // evaluations before the rollouts they measure
		if phase == trainPhase {
			return 1
		}
		return 0
	}
	slices.SortFunc(out, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.run, b.run), cmp.Compare(b.Step, a.Step), cmp.Compare(order(a.Phase), order(b.Phase)),
			cmp.Compare(a.line, b.line))
	})
	ts := make([]trajectory, len(out))
	for i, p := range out {
		ts[i] = p.trajectory
	}
	return ts, nil
}
