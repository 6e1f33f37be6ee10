package report

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"retool/trainer/dist"
	"retool/trainer/trace"
)

// hostile is text that a model, its code or a problem file may hold. Bytes that are not UTF-8 reach a Record replaced.
var hostile = []string{
	"</script><script>document.title='owned'</script>", "<img src=x onerror=\"document.title='owned'\">", "<!--<script>",
	"]]>&amp;\"'`${1}{{data}}{{script}}",
	"\u2028\u2029\u202e reversed \u200b", "\x00\x07\x1b[31mred\x1b[0m\r\n", "\ufffd\ufffd", "🦊 “héllo”\tend", "javascript:alert(1)",
}

// shape says how large a synthetic run is.
type shape struct {
	sft, rl, rollouts, problems, samples, every int
	text                                        bool // without calls
	long                                        int  // tokens added to each response
	ranks                                       int  // 0: a run of one process
	bits                                        bool // hostile texts everywhere
}

var small = shape{sft: 12, rl: 9, rollouts: 24, problems: 40, samples: 1, bits: true}

// writeRun writes a run directory's logs as a trainer does, learning along an invented curve, and returns its Run. Nothing but the
// logs is made up: they go through trace.Log, and evaluations through trace.Behave.
func writeRun(t *testing.T, dir string, s shape) Run {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, uint64(s.rl)))
	metrics, err := trace.Open(filepath.Join(dir, "metrics.jsonl"), 0)
	if err != nil {
		t.Fatal(err)
	}
	records, err := trace.Open(filepath.Join(dir, "trajectories.jsonl"), 0)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	run := Run{Dir: dir, Title: filepath.Base(dir), Facts: []Fact{{"device", "cpu, 2 threads"}, {"python", "3.11, tier A"}},
		Config: "seed: 1\nrl: {steps: 9}\n"}
	key := int64(1) << 57
	rollouts := func(phase string, step, n int, skill float64, problem func(i int) int) []trace.Record {
		var rs []trace.Record
		for i := range n {
			r := s.record(rng, skill, problem(i), key)
			key++
			r.Phase, r.Step = phase, step
			must(records.Write(r))
			rs = append(rs, r)
		}
		return rs
	}
	evaluate := func(name string, step int, skill float64) {
		if s.problems == 0 {
			return
		}
		rs := rollouts(name, step, s.problems*s.samples, skill, func(i int) int { return i / s.samples })
		b := trace.Behave(rs)
		correct := 0
		for _, r := range rs {
			if r.Outcome == "correct" {
				correct++
			}
		}
		p := float64(correct) / float64(len(rs))
		half := 1.96 * math.Sqrt(p*(1-p)/float64(s.problems))
		run.Evaluations = append(run.Evaluations, trace.Evaluation{Name: name, Step: step, Problems: s.problems, Samples: s.samples, Accuracy: p,
			Low: max(0, p-half), High: min(1, p+half), Rules: "temperature 1, top-p 0.7", Behaviour: b})
	}
	evaluate("untrained", 0, 0)
	for i := range s.sft {
		x := float64(i) / float64(s.sft)
		var ranks *trace.Ranks
		if s.ranks > 0 {
			ranks = &trace.Ranks{Exchange: .02, Wait: .05}
		}
		must(metrics.Write(trace.Metrics{Step: i + 1, Phase: "sft", Ranks: ranks, Loss: .2 + 5*math.Exp(-4*x) + .1*rng.Float64(),
			LR: 2e-3 * (1 - .9*x), Norm: 3*math.Exp(-2*x) + .3*rng.Float64(), Speed: 6000 + 800*rng.Float64(), Time: .5}))
	}
	if s.sft > 0 {
		evaluate("cold_start", s.sft, .4)
	}
	for i := range s.rl {
		x := float64(i) / float64(s.rl)
		skill := .4 + .58*(1-math.Exp(-3*x))
		step := s.sft + i + 1
		rs := rollouts("train", step, s.rollouts, skill, func(int) int { return 1000 + rng.IntN(5000) })
		b := trace.Behave(rs)
		m := trace.RL{CodeRatio: b.CodeRatio, Length: b.ResponseLength, Finish: b.Finish, KL: .002 * rng.Float64(), Clip: .03 * rng.Float64(),
			Entropy: .5 - .3*x, ValueLoss: .3 - .2*x, Explained: .6 * x, Rollout: .62, ToolWait: .08 + .03*rng.Float64(),
			Score: .06, Train: .32, Checked: 2000, DecodeRate: 900}
		for _, r := range rs {
			m.Reward += float64(r.Reward) / float64(len(rs))
			m.Calls += float64(len(r.Calls)) / float64(len(rs))
			if r.Outcome == "correct" {
				m.Accuracy += 1 / float64(len(rs))
			}
		}
		if b.Snippets > 0 {
			m.CallsOK = float64(b.CorrectCodeCount) / float64(b.Snippets)
		}
		var ranks *trace.Ranks
		if m.Filtered.Overlong = rng.IntN(3); s.ranks > 0 {
			ranks = &trace.Ranks{Tail: .2 * rng.Float64(), Exchange: .02 * rng.Float64()}
			for range s.ranks {
				ranks.Rollout = append(ranks.Rollout, .5+.1*rng.Float64())
			}
		}
		m.Rewards = trace.Rewards{Paper: float32(m.Reward), DAPOStrict: float32(m.Reward), ToolShaped: float32(m.Reward) + .1}
		must(metrics.Write(trace.Metrics{Step: step, Phase: "rl", Loss: .02 * rng.NormFloat64(), LR: 1e-4 * (1 - x), Norm: .5 + .2*rng.Float64(),
			Speed: 1500 + 200*rng.Float64(), Time: 1.5, Ranks: ranks, RL: &m}))
		if last := i == s.rl-1; last || s.every > 0 && (i+1)%s.every == 0 {
			evaluate("rl", step, skill)
		}
	}
	must(metrics.Close())
	must(records.Close())
	s.writeRoster(t, dir)
	for _, e := range run.Evaluations {
		e.Sampling, e.AccuracyCode = .012, e.Accuracy
		run.Results = append(run.Results, trace.Row{Name: strings.ReplaceAll(e.Name, "_", " "), Evaluation: &e})
	}
	return run
}

// writeRoster writes who the ranks are, with a log of the first.
func (s shape) writeRoster(t *testing.T, dir string) {
	t.Helper()
	if s.ranks == 0 {
		return
	}
	var members []dist.Member
	for r := range s.ranks {
		members = append(members, dist.Member{Rank: r, LocalRank: r % 8, Host: fmt.Sprint("node", r/8, hostile[1]), PID: 4700 + r,
			Device: fmt.Sprint("GPU ", r%8), PCI: fmt.Sprintf("0000:%02x:00", 16*(r%8)), Cores: 12,
			Affinity: fmt.Sprintf("%d-%d", 12*(r%8), 12*(r%8)+11)})
	}
	var b bytes.Buffer
	err := errors.Join(dist.WriteRoster(&b, members), os.WriteFile(filepath.Join(dir, "ranks.json"), b.Bytes(), 0o644),
		os.MkdirAll(filepath.Join(dir, "ranks"), 0o755), os.WriteFile(filepath.Join(dir, "ranks", "000.log"), nil, 0o644))
	if err != nil {
		t.Fatal(err)
	}
}

// record makes one trajectory of a product, character by character: with code or without, the code right or lacking its parenthesis,
// then corrected or not.
func (s shape) record(rng *rand.Rand, skill float64, problem int, key int64) (r trace.Record) {
	source := rand.New(rand.NewPCG(uint64(problem), 1))
	families := []string{"product", "remainder", "gcd"}
	a, b := 100+source.IntN(900), 100+source.IntN(900)
	family := families[problem%3]
	question := map[string]string{"product": "What is %d times %d?", "remainder": "What remains when %d is divided by %d?",
		"gcd": "Find the gcd of %d and %d."}[family]
	expr := map[string]string{"product": "%d*%d", "remainder": "%d%%%d", "gcd": "gcd(%d,%d)"}[family]
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	truth := map[string]int{"product": a * b, "remainder": a % b, "gcd": x}[family]
	question, expr = fmt.Sprintf(question, a, b), fmt.Sprintf(expr, a, b)
	r = trace.Record{Key: key, Problem: fmt.Sprintf("%s-%d", family, problem), Family: family, Question: question, Truth: fmt.Sprint(truth),
		Finish: "answer", Advantage: float32(rng.NormFloat64())}
	var sources []byte
	defer func() { r.Sources = string(sources) }()
	add := func(kind byte, text string) {
		for _, c := range strings.SplitAfter(text, "") {
			piece := []rune(c)[0]
			lp := float32(0)
			if kind == 'm' {
				lp = float32(-math.Abs(rng.NormFloat64()) * (1 - skill) * .6)
				if rng.IntN(9) == 0 {
					lp *= 8
				}
			}
			r.IDs, sources, r.LogProbs, r.Pieces = append(r.IDs, int32(piece)), append(sources, kind), append(r.LogProbs, lp), append(r.Pieces, c)
		}
	}
	special := func(kind byte, name string, id int32) {
		r.Special = append(r.Special, len(r.IDs))
		r.IDs, sources, r.LogProbs, r.Pieces = append(r.IDs, id), append(sources, kind), append(r.LogProbs, -.01), append(r.Pieces, name)
	}
	add('p', question+"\n")
	r.Prompt = len(r.IDs)
	add('m', strings.Repeat("hm. ", s.long/4))
	call := func(code, status, stdout, traceback string) {
		from := len(r.IDs)
		add('m', "<code>\n"+code+"\n</code>")
		to := len(r.IDs)
		add('t', "\n<interpreter>\n"+stdout+traceback+"</interpreter>\n\n")
		run := .002 + .01*rng.Float64()
		r.Calls = append(r.Calls, trace.CallData{Code: code, Status: status, Stdout: stdout, Traceback: traceback, From: from, To: to,
			ReplyFrom: to, ReplyTo: len(r.IDs),
			Prefilled: len(r.IDs) - to, Seconds: run, CPU: run / 2, Queue: .003 * rng.Float64(), Wait: run + .005})
	}
	good := false
	if !s.text && rng.Float64() < .3+.7*skill {
		add('m', "I use Python.\n")
		good = rng.Float64() < .5+.5*skill
		if !good {
			call("print("+expr, "exception", "", "SyntaxError: '(' was never closed")
			if good = rng.Float64() < skill; good {
				add('m', "A parenthesis is missing.\n")
			}
		}
		if good {
			call("print("+expr+")", "ok", fmt.Sprintln(truth), "")
		}
	}
	if s.bits && rng.IntN(3) == 0 {
		h := hostile[rng.IntN(len(hostile))]
		call("print('''"+h+"''')", "ok", h, h)
		r.Question, r.Answer, r.Problem = h+question, h, h
		add('m', h)
	}
	right := good && rng.Float64() < .97 || rng.Float64() < .1*skill
	switch {
	case right:
		r.Answer, r.Outcome, r.Reward = r.Truth, "correct", 1
	case rng.IntN(5) == 0:
		r.Outcome, r.Reward, r.Finish = "no_answer", -1, "length"
	default:
		r.Answer, r.Outcome, r.Reward = fmt.Sprint(truth+1+rng.IntN(90)), "wrong", -1
	}
	r.Rewards = trace.Rewards{Paper: r.Reward, DAPOStrict: r.Reward, ToolShaped: r.Reward}
	if r.Finish == "answer" {
		add('m', "<answer>\n\\boxed{"+r.Answer+"}\n</answer>")
		special('m', "<eos>", 300)
	}
	return r
}
