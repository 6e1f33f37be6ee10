package arith

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"retool/trainer/data"
)

// Operands of a word problem, in the order in which its identity holds them.
func wordOperands(p data.Problem) (ops []int) {
	for _, s := range strings.Split(strings.TrimPrefix(p.ID, p.Family+"-"), "-") {
		n, _ := strconv.Atoi(s)
		ops = append(ops, n)
	}
	return ops
}

// Answers once more, by a formula a family.
func TestWordProblemsHaveTheirAnswers(t *testing.T) {
	for _, p := range append(WordProblems.Problems(5, Train, 3000), WordProblems.Problems(5, Test, 500)...) {
		o := wordOperands(p)
		var want int
		switch p.Family {
		case "more":
			want = o[0] + o[1]
		case "fewer":
			want = o[0] - o[1]
		case "times", "area":
			want = o[0] * o[1]
		case "share":
			want = o[0] / o[1]
		case "times and more":
			want = o[0]*o[1] + o[2]
		case "change":
			want = o[0] - o[1]*o[2]
		case "two kinds":
			want = o[0]*o[1] + o[2]*o[3]
		case "in and out":
			want = o[0] - o[1] + o[2]
		case "rest shared":
			want = (o[0] - o[1]) / o[2]
			if (o[0]-o[1])%o[2] != 0 {
				t.Fatalf("%q: the shares are not whole", p.Question)
			}
		default:
			t.Fatalf("no reference for family %q", p.Family)
		}
		if strconv.Itoa(want) != p.Answer || want < 1 {
			t.Fatalf("%s %q: answer %s, want %d", p.ID, p.Question, p.Answer, want)
		}
		asked := map[string]int{}
		for _, n := range regexp.MustCompile(`\d+`).FindAllString(p.Question, -1) {
			asked[n]++
		}
		for _, n := range o {
			if asked[strconv.Itoa(n)]--; asked[strconv.Itoa(n)] < 0 {
				t.Fatalf("%q does not name operand %d", p.Question, n)
			}
		}
		if strings.ContainsAny(p.Question, "{}") {
			t.Fatalf("%q: a place was left open", p.Question)
		}
	}
}

var equationForm = regexp.MustCompile(`^(\d+) ([-+*/]) (\d+) = (\d+)$`)

// What a trace works out by hand is right line by line, and ends at the answer that it gives.
func TestWordProblemsAreWorkedRightByHand(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, tr := range WordProblems.Traces(rapid.Uint64().Draw(t, "seed"), 50, Mix{Text: 1}) {
			if len(tr.Segments) != 1 {
				t.Fatalf("%d segments in a trace without code", len(tr.Segments))
			}
			result := ""
			for _, line := range strings.Split(tr.Segments[0].Text, "\n") {
				m := equationForm.FindStringSubmatch(line)
				if m == nil {
					continue
				}
				a, _ := strconv.Atoi(m[1])
				b, _ := strconv.Atoi(m[3])
				got := map[string]int{"+": a + b, "-": a - b, "*": a * b, "/": a / b}[m[2]]
				if strconv.Itoa(got) != m[4] || m[2] == "/" && a%b != 0 {
					t.Fatalf("%q in the trace of %q", line, tr.Problem.Question)
				}
				result = m[4]
			}
			if result != tr.Problem.Answer || !strings.HasSuffix(tr.Segments[0].Text, answerOpen+result+answerClose) {
				t.Fatalf("%q: the last step gives %q: %q", tr.Problem.Question, result, tr.Segments[0].Text)
			}
		}
	})
}

// Small numbers make small families: what the documentation says of their sizes holds.
func TestWordProblemsKeepTrainAndTestApart(t *testing.T) {
	train := map[string]bool{}
	for _, p := range WordProblems.Problems(1, Train, 3000) {
		if train[p.ID] {
			t.Fatalf("%s twice", p.ID)
		}
		train[p.ID] = true
	}
	families, seen := map[string]int{}, map[string]bool{}
	for _, p := range WordProblems.Problems(1, Test, 300) {
		if train[p.ID] || seen[p.ID] {
			t.Fatalf("%s: of both splits, or twice", p.ID)
		}
		seen[p.ID] = true
		families[p.Family]++
	}
	for _, f := range wordFamilies {
		if families[f.name] != 30 {
			t.Errorf("%s: %d of 300 test problems, want 30", f.name, families[f.name])
		}
	}
}
