package answer

import (
	"math"
	"strings"
	"testing"
)

func TestDAPOStrict(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	e := func(n int) string { return strings.Repeat("é", n) } // two bytes each, one character
	for _, c := range []struct {
		name, text, truth string
		want              float64
	}{
		{"right", `\boxed{42}`, "42", 1},
		{"wrong", `\boxed{43}`, "42", -1},
		{"none", `42`, "42", -1},
		{"quotes count", `\boxed{'42'}`, "42", -1},
		{"zeros count", `\boxed{042}`, "42", -1},
		{"decimals count", `\boxed{42.0}`, "42", -1},
		{"spaces count", `\boxed{ 42}`, "42", -1},
		{"nested", `\boxed{\boxed{5}}`, "5", 1},
		{"unbalanced", `\boxed{5`, "5", -1},
		{"unbalanced after balanced", `\boxed{5} \boxed{`, "5", -1},
		{"empty box, empty truth", `\boxed{}`, "", 1},
		{"begins at the 100th character from the end", x(500) + `\boxed{42}` + x(90), "42", 1},
		{"begins at the 101st", x(500) + `\boxed{42}` + x(91), "42", -1},
		{"characters, not bytes", e(500) + `\boxed{42}` + e(90), "42", 1},
		{"and one more", e(500) + `\boxed{42}` + e(91), "42", -1},
		{"an end token left in the text", `\boxed{42}` + x(80) + "<|im_end|>x", "42", -1},
		{"an answer line means nothing here", "Answer: 42", "42", -1},
	} {
		if got, _ := DAPOStrict(c.text, c.truth, true); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestDAPOAnswerLine(t *testing.T) {
	x := strings.Repeat("x", 400)
	for _, c := range []struct {
		name, text, truth string
		want              float64
		extracted         string
	}{
		{"line", "Answer: 42", "42", 1, "42"},
		{"case", "aNSWER :42", "42", 1, "42"},
		{"normalised on both sides", "Answer: $1,000$", `1{,}000`, 1, "1000"},
		{"no rationals here", "Answer: 0.5", "1/2", -1, "0.5"},
		{"the last counts", "Answer: 1\nAnswer: 2", "2", 1, "2"},
		{"white space runs over lines", "Answer:\n\n 42\n", "42", 1, "42"},
		{"white space of all scripts", "Answer\u00a0:\u200942", "42", 1, "42"},
		{"to the end of the line", "Answer: 42 apples\nx", "42apples", 1, "42apples"},
		{"the line hides the box", "\\boxed{7} Answer: 42", "7", -1, "42"},
		{"without a line, the box", `\boxed{42}`, "42", 1, "42"},
		{"and that one strictly", `\boxed{42.0}`, "42", -1, "42.0"},
		{"the line must lie in the last 300", "Answer: 42\n" + x + `\boxed{42}`, "42", 1, "42"},
		{"too far", "Answer: 42\n" + x, "42", -1, ""},
		{"300 characters of two bytes", strings.Repeat("é", 500) + "Answer: 42\n" + strings.Repeat("é", 289), "42", 1, "42"},
		{"and one too many", strings.Repeat("é", 500) + "Answer: 42\n" + strings.Repeat("é", 290), "42", -1, ""},
	} {
		if got, extracted := DAPOStrict(c.text, c.truth, false); got != c.want || extracted != c.extracted {
			t.Errorf("%s: %v by %q, want %v by %q", c.name, got, extracted, c.want, c.extracted)
		}
	}
}

func TestToolShaped(t *testing.T) {
	for _, c := range []struct {
		calls         int
		turns, counts float64 // reward of a wrong answer by either count
	}{
		{0, -1.0, -1.1}, {1, -0.9, -1.05}, {2, -0.8, -1.0}, {3, -0.7, -0.95}, {4, -0.6, -0.9}, {5, -0.6, -0.85},
		{9, -0.6, -0.65}, {10, -0.6, -0.6}, {11, -0.6, -0.6}, {100, -0.6, -0.6},
	} {
		if got := ToolShaped(-1, Turns(c.calls, c.calls+1)); math.Abs(got-c.turns) > 1e-12 {
			t.Errorf("%d calls, by turns: %v, want %v", c.calls, got, c.turns)
		}
		if got := ToolShaped(-1, c.calls); math.Abs(got-c.counts) > 1e-12 {
			t.Errorf("%d calls, by calls: %v, want %v", c.calls, got, c.counts)
		}
		if got := ToolShaped(1, c.calls); got != 1 {
			t.Errorf("a right answer after %d calls: %v", c.calls, got)
		}
	}
}
