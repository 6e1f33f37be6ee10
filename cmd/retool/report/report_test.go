package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"retool/trainer/trace"
)

var keep = flag.String("keep", "", "write the page of a synthetic demo into this file")

// TestKeep writes a page to look at: go test -run TestKeep -keep demo.html
func TestKeep(t *testing.T) {
	if *keep == "" {
		t.Skip("no -keep FILE given")
	}
	dir := t.TempDir()
	r := writeRun(t, filepath.Join(dir, "0142"), shape{sft: 250, rl: 90, rollouts: 128, problems: 256, samples: 1, every: 30})
	text := writeRun(t, filepath.Join(dir, "0142", "text"), shape{sft: 250, rl: 90, rollouts: 128, problems: 256, samples: 1, text: true})
	r.Text = &text
	r.Results = slices.DeleteFunc(r.Results, func(x trace.Row) bool { return x.Name == "rl" && x.Step < 340 })
	for _, x := range text.Results[1:] {
		x.Name, x.Text = "text only, "+x.Name, true
		r.Results = append(r.Results, x)
	}
	f, err := os.Create(*keep)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Write(f, r); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, r Run) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var dataElement = regexp.MustCompile(`(?s)<script type="application/json" id="data">(.*?)</script>`)

// dataOf reads a page's data as a browser does: up to the first end tag.
func dataOf(t *testing.T, page string) (d struct {
	Title        string
	Tokens       [][]any
	Trajectories []struct {
		Run      int
		Step     int
		Phase    string
		Key      string
		Problem  string
		Family   string
		Question string
		Outcome  string
		Finish   string
		Sources  string
		T        []int
		L        []float64
		Gap      [2]int
		Length   int
		Calls    []struct{ Code, Status, Stdout, Traceback string }
		Fixed    bool
		Passed   bool `json:"passed_wrong"`
		Checked  bool
	}
	Runs []struct {
		Name   string
		Offset int
		Curves map[string]struct {
			X    []int
			Cols map[string][]*float64
		}
		Evaluations []struct {
			Name      string
			X         int
			Low, High float64
			Accuracy  float64
			Behaviour map[string]*float64
		}
		Records, Checked int
		Ranks            []rank
	}
}) {
	t.Helper()
	m := dataElement.FindStringSubmatch(page)
	if m == nil {
		t.Fatal("the page holds no data")
	}
	if err := json.Unmarshal([]byte(m[1]), &d); err != nil {
		t.Fatalf("data: %v", err)
	}
	return d
}

func TestHostileTextStaysText(t *testing.T) {
	r := writeRun(t, t.TempDir(), small)
	r.Title = "</title><script>1</script>{{script}}{{data}}"
	r.Config = "</script>" + strings.Join(hostile, "\n")
	page := write(t, r)
	if n := strings.Count(page, "</script"); n != 2 {
		t.Errorf("%d script end tags, want 2: data and code", n)
	}
	if n := strings.Count(page, "<script"); n != 2 {
		t.Errorf("%d script tags, want 2", n)
	}
	if strings.Contains(page, "<!--") || strings.Contains(page, "\r") {
		t.Error("a comment or a carriage return would change what the policy's hashes cover")
	}
	d := dataOf(t, page)
	if d.Title != r.Title {
		t.Errorf("title %q, want %q", d.Title, r.Title)
	}
	stored := map[string]trace.Record{}
	_, err := trace.Read(filepath.Join(r.Dir, "trajectories.jsonl"), func(x trace.Record) error {
		b, _ := json.Marshal(x.Key)
		stored[string(b)] = x
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, x := range d.Trajectories {
		want := stored[x.Key]
		var text strings.Builder
		for _, i := range x.T {
			text.WriteString(d.Tokens[i][1].(string))
		}
		if got := text.String(); got != strings.Join(want.Pieces, "") || x.Question != want.Question || len(x.Calls) != len(want.Calls) {
			t.Fatalf("trajectory %s: text %q, want %q", x.Key, got, strings.Join(want.Pieces, ""))
		}
		for i, c := range x.Calls {
			if w := want.Calls[i]; c.Code != w.Code || c.Stdout != w.Stdout || c.Traceback != w.Traceback {
				t.Fatalf("trajectory %s: call %+v, want %+v", x.Key, c, w)
			}
			seen[c.Stdout] = true
		}
		if len(x.L) != strings.Count(want.Sources, "m") {
			t.Fatalf("trajectory %s: %d log-probabilities for %d sampled tokens", x.Key, len(x.L), strings.Count(want.Sources, "m"))
		}
	}
	for _, h := range hostile {
		if !seen[h] {
			t.Errorf("no trajectory shows %q", h)
		}
	}
}

// An address is allowed where a licence or a namespace names one; nothing may be fetched.
func TestPageLoadsNothing(t *testing.T) {
	page := write(t, writeRun(t, t.TempDir(), shape{sft: 3, rl: 3, rollouts: 4, problems: 4, samples: 1}))
	for _, u := range regexp.MustCompile(`(?:https?:)?//[a-zA-Z0-9.-]+\.[a-z]{2,}[^\s"']*`).FindAllString(page, -1) {
		if u != "https://github.com/leeoniya/uPlot" && u != "http://www.w3.org/2000/svg" {
			t.Errorf("address in the page: %s", u)
		}
	}
	for _, s := range []string{" src=", "@import", "url(", "fetch(", "XMLHttpRequest", "WebSocket", "innerHTML", "insertAdjacent",
		"document.write", "eval("} {
		if strings.Contains(page, s) {
			t.Errorf("the page holds %q", s)
		}
	}
	for _, s := range []string{"default-src 'none'", "script-src 'sha256-", "style-src 'sha256-"} {
		if !strings.Contains(page, s) {
			t.Errorf("the page's policy lacks %q", s)
		}
	}
	if strings.Contains(page, "unsafe-inline") || !strings.Contains(page, "Permission is hereby granted") {
		t.Error("want a policy of hashes, and uPlot's licence in the page")
	}
}

func TestPageIsTheSameEveryTime(t *testing.T) {
	r := writeRun(t, t.TempDir(), small)
	if first, second := write(t, r), write(t, r); first != second {
		t.Error("two pages of one run differ")
	}
}

// Ten times the rollouts, and responses too long for a page.
func TestPageStaysSmall(t *testing.T) {
	for name, s := range map[string]shape{
		"many": {sft: 2500, rl: 3, rollouts: 200, problems: 200, samples: 1},
		"long": {rl: 3, rollouts: 30, problems: 30, samples: 1, long: 5 * maxTokens / 4, bits: true},
	} {
		page := write(t, writeRun(t, t.TempDir(), s))
		if n := len(page); n > 4<<20 {
			t.Errorf("%s: the page has %d bytes, want at most 4 MiB", name, n)
		}
		d := dataOf(t, page)
		if n := len(d.Trajectories); n > MaxTrajectories || n < 60 {
			t.Errorf("%s: %d trajectories", name, n)
		}
		if c := d.Runs[0].Curves["sft"]; len(c.X) > MaxPoints {
			t.Errorf("%s: a curve of %d points", name, len(c.X))
		}
		for _, x := range d.Trajectories {
			if x.Length-(x.Gap[1]-x.Gap[0]) != len(x.T) || len(x.T) > maxTokens {
				t.Fatalf("%s: %d tokens of %d with the gap %v", name, len(x.T), x.Length, x.Gap)
			}
		}
	}
}

func TestSampleIsBalanced(t *testing.T) {
	r := writeRun(t, t.TempDir(), shape{sft: 5, rl: 30, rollouts: 128, problems: 256, samples: 1, every: 10})
	d := dataOf(t, write(t, r))
	if len(d.Trajectories) != MaxTrajectories {
		t.Fatalf("%d trajectories, want %d", len(d.Trajectories), MaxTrajectories)
	}
	groups, classes, families := map[phaseStep]int{}, map[string]int{}, map[string]int{}
	problems := map[phaseStep]map[string]bool{}
	for _, x := range d.Trajectories {
		at := phaseStep{x.Phase, x.Step}
		groups[at]++
		families[x.Family]++
		if problems[at] == nil {
			problems[at] = map[string]bool{}
		}
		problems[at][x.Problem] = true
		classes[x.Outcome]++
		if x.Fixed {
			classes["fixed"]++
		}
		if x.Passed {
			classes["passed"]++
		}
		if x.Checked != (x.Phase == "train") {
			t.Fatalf("a trajectory of %s: checked %v", x.Phase, x.Checked)
		}
	}
	want := []phaseStep{{"untrained", 0}, {"cold_start", 5}, {"train", 6}, {"train", 21}, {"train", 35}, {"rl", 15}, {"rl", 25}, {"rl", 35}}
	for _, at := range want {
		if groups[at] != MaxTrajectories/len(want) {
			t.Errorf("%d trajectories of %v, want %d", groups[at], at, MaxTrajectories/len(want))
		}
	}
	if len(groups) != len(want) {
		t.Errorf("groups %v, want %v", groups, want)
	}
	for _, c := range []string{"correct", "wrong", "no_answer", "fixed", "passed"} {
		if classes[c] < 10 {
			t.Errorf("%d trajectories of class %s in the page", classes[c], c)
		}
	}
	for f, n := range families {
		if n < MaxTrajectories/6 {
			t.Errorf("%d trajectories of family %s", n, f)
		}
	}
	for p := range problems[phaseStep{"rl", 35}] {
		for _, at := range want[:2] {
			if !problems[at][p] {
				t.Fatalf("problem %s is shown after RL and not in %v", p, at)
			}
		}
	}
}

// The page's filters against the definitions they are named for.
func TestFiltersMeanWhatTheySay(t *testing.T) {
	ok, failed := trace.CallData{Code: "x", Status: "ok"}, trace.CallData{Code: "x", Status: "exception"}
	none := trace.CallData{Status: "no_code"}
	over := trace.CallData{Code: "x", Status: "not_run"}
	for _, c := range []struct {
		calls         []trace.CallData
		outcome       string
		fixed, passed bool
	}{
		{nil, "wrong", false, false},
		{[]trace.CallData{ok}, "correct", false, false},
		{[]trace.CallData{ok}, "wrong", false, true},
		{[]trace.CallData{ok}, "no_answer", false, true},
		{[]trace.CallData{failed, ok}, "correct", true, false},
		{[]trace.CallData{failed, none, ok, failed}, "wrong", true, false},
		{[]trace.CallData{ok, failed}, "wrong", false, false},
		{[]trace.CallData{ok, none}, "wrong", false, true},
		{[]trace.CallData{over, ok}, "wrong", false, true},
	} {
		r := trace.Record{Calls: c.calls, Outcome: c.outcome, Sources: "pm", IDs: []int32{1, 2}, Prompt: 1}
		got := traitsOf(&r)
		if got.fixed != c.fixed || got.passedWrong != c.passed {
			t.Errorf("%v, %s: fixed %v, last passed and wrong %v; want %v, %v", c.calls, c.outcome, got.fixed, got.passedWrong, c.fixed, c.passed)
		}
		if b := trace.Behave([]trace.Record{r}); (b.FixedRate == 1) != got.fixed || (b.CodePassWrong == 1) != got.passedWrong {
			t.Errorf("%v, %s: the filters and trace.Behave differ", c.calls, c.outcome)
		}
	}
}

func TestTextRunIsOverlaid(t *testing.T) {
	dir := t.TempDir()
	r := writeRun(t, dir, small)
	text := writeRun(t, filepath.Join(dir, "text"), shape{sft: 20, rl: 9, rollouts: 24, problems: 40, samples: 1, text: true})
	r.Text = &text
	d := dataOf(t, write(t, r))
	if len(d.Runs) != 2 || d.Runs[1].Offset != 20 || d.Runs[0].Offset != 12 {
		t.Fatalf("runs %+v", d.Runs)
	}
	for i, run := range d.Runs {
		if x := run.Curves["rl"].X; len(x) != 9 || x[0] != 13 || x[8] != 21 {
			t.Errorf("run %d: steps of RL %v, want 13 … 21, as the first run counts them", i, x)
		}
	}
	n := 0
	for _, x := range d.Trajectories {
		n += x.Run
	}
	if n < 40 || d.Runs[1].Curves["rl"].Cols["calls_ok"][0] != nil {
		t.Errorf("%d trajectories of the text-only run, calls that ran %v", n, d.Runs[1].Curves["rl"].Cols["calls_ok"][0])
	}
}

// A run whose last evaluation is not in a checkpoint yet still shows it; one without RL, or without trajectories, has a page.
func TestUnfinishedRuns(t *testing.T) {
	dir := t.TempDir()
	r := writeRun(t, dir, small)
	full := dataOf(t, write(t, r))
	r.Evaluations = r.Evaluations[:1]
	cut := dataOf(t, write(t, r))
	for i, e := range full.Runs[0].Evaluations {
		if g := cut.Runs[0].Evaluations[i]; g.Name != e.Name || g.X != e.X || g.Accuracy != e.Accuracy ||
			*g.Behaviour["length"] != *e.Behaviour["length"] {
			t.Errorf("evaluation from the records %+v, want %+v", g, e)
		}
	}
	d := dataOf(t, write(t, writeRun(t, t.TempDir(), shape{sft: 5, problems: 6, samples: 2})))
	if len(d.Runs[0].Curves["sft"].X) != 5 || d.Runs[0].Curves["rl"].X != nil || len(d.Trajectories) != 24 {
		t.Errorf("cold start alone: %d steps, %d trajectories", len(d.Runs[0].Curves["sft"].X), len(d.Trajectories))
	}
	if err := os.Remove(filepath.Join(dir, "trajectories.jsonl")); err != nil {
		t.Fatal(err)
	}
	if d := dataOf(t, write(t, r)); len(d.Trajectories) != 0 || len(d.Runs[0].Curves["rl"].X) != 9 {
		t.Error("a run without trajectories lost its curves")
	}
}

func TestBadDirectoriesAreNamed(t *testing.T) {
	empty := t.TempDir()
	begun := t.TempDir()
	broken := t.TempDir()
	torn := t.TempDir()
	for path, text := range map[string]string{
		begun + "/metrics.jsonl": "", broken + "/metrics.jsonl": "{\"step\":1}\n{\"step\":\n",
		torn + "/metrics.jsonl": "{\"step\":1}\n", torn + "/trajectories.jsonl": `{"ids":[1],"pieces":[],"sources":"m"}` + "\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for dir, want := range map[string]string{
		empty: "holds no metrics.jsonl", empty + "/no": "no directory", begun: "nothing to show", broken: "metrics.jsonl:2",
		torn: "trajectories.jsonl:1: a trajectory of 1 ids has 1 sources",
	} {
		err := Write(&bytes.Buffer{}, Run{Dir: dir})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line with %q", dir, err, want)
		}
	}
}

// Every number that a step logs has a column under its own name; ranks have a line each, or of many the first, the median and the last;
// a roster that cannot be read is named.
func TestEveryMetricHasAColumn(t *testing.T) {
	for ranks, lines := range map[int]int{1: 1, 3: 3, 16: 3} {
		dir := t.TempDir()
		run := dataOf(t, write(t, writeRun(t, dir, shape{sft: 2, rl: 4, rollouts: 6, ranks: ranks}))).Runs[0]
		cols := run.Curves["rl"].Cols
		if len(run.Ranks) != ranks || run.Ranks[0].Log != "ranks/000.log" || ranks > 1 && run.Ranks[1].Log != "" || run.Ranks[0].Rollout < .5 {
			t.Errorf("%d ranks: roster %+v", ranks, run.Ranks)
		}
		for _, s := range trace.Scalars(trace.Metrics{Ranks: &trace.Ranks{}, RL: &trace.RL{}}, "step", "elapsed", "finish") {
			if cols[s.Name] == nil {
				t.Errorf("%s has no column", s.Name)
			}
		}
		if run.Curves["sft"].Cols["ranks/exchange_share"] == nil {
			t.Error("the cold start's exchanges have no column")
		}
		got := 0
		for name := range cols {
			if strings.HasPrefix(name, "ranks/rollout_seconds/") {
				got++
			}
		}
		if got != lines {
			t.Errorf("%d ranks have %d lines, want %d", ranks, got, lines)
		}
		if err := os.WriteFile(filepath.Join(dir, "ranks.json"), []byte("[{"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := Write(&bytes.Buffer{}, Run{Dir: dir}); err == nil || !strings.Contains(err.Error(), "ranks.json") {
			t.Errorf("a torn roster: %v", err)
		}
	}
}

// Averaging buckets keeps the mean, the largest difference and the last step.
func TestBucketsKeepMeanAndWorst(t *testing.T) {
	c := newCurves()
	sum := 0.0
	for i := range 2400 {
		v := map[string]float64{"reward": float64(i % 7), "max_difference": 0}
		if i == 1234 {
			v["max_difference"] = .5
		}
		sum += float64(i % 7)
		c.add(i+1, v)
	}
	b := bucket(c, 1000)
	if b.Every != 3 || len(b.X) != 800 || b.X[799] != 2400 || b.X[0] != 3 {
		t.Fatalf("%d points of %d steps, from %d to %d", len(b.X), b.Every, b.X[0], b.X[len(b.X)-1])
	}
	got := 0.0
	for _, x := range b.Cols["reward"] {
		got += 3 * float64(x)
	}
	if d := got - sum; d > 1e-9 || d < -1e-9 {
		t.Errorf("sum %v, want %v", got, sum)
	}
	if slices.Max(b.Cols["max_difference"]) != .5 {
		t.Error("the largest difference is lost in a mean")
	}
}
