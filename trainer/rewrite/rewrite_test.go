package rewrite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"retool/interp"
	"retool/trainer/data"
)

var python *interp.Pool

func TestMain(m *testing.M) {
	interp.Init()
	cfg := interp.Default()
	cfg.Preload, cfg.Warm, cfg.Zygotes = nil, 2, 1
	cfg.Limits.CPU, cfg.Limits.Wall = 500*time.Millisecond, 20*time.Second
	var err error
	if python, err = interp.New(context.Background(), cfg, slog.New(slog.NewTextHandler(io.Discard, nil))); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	python.Close()
	os.Exit(code)
}

// sandbox runs snippets in the real one.
type sandbox struct{}

func (sandbox) Run(ctx context.Context, code string) (Execution, error) {
	r, err := python.Run(ctx, 0, code)
	x := Execution{OK: r.Status == interp.OK, Timeout: strings.HasPrefix(string(r.Status), "timeout"), Output: string(r.Stdout)}
	if !x.OK {
		x.Output = string(r.Traceback)
	}
	x.Shown = strings.TrimSpace(x.Output)
	return x, err
}

func newTestChecker() *Checker {
	return &Checker{Interpreter: sandbox{}, Tokens: func(s string) int { return len(strings.Fields(s)) }, MaxTokens: 200, Kept: 0.6}
}

const solution = "We need the product of 12 and 13. First 12 times 10 is 120 and 12 times 3 is 36 so the sum is 156. That is the answer."

func testRow(line int) Row {
	problem := data.Problem{ID: fmt.Sprint("p", line), Question: fmt.Sprintf("What is 12 × 13? (%d)", line), Answer: "156"}
	return Row{Line: line, Problem: problem, Solution: solution}
}

func wrap(s string) string { return "Sure!\n" + openProcess + "\n" + s + "\n" + closeProcess + "\n" }

func call(code, result string) string {
	return "<code>\n```python\n" + code + "\n```\n</code>\n<interpreter>\n" + result + "\n</interpreter>\n"
}

const (
	opening = "We need the product of 12 and 13. "
	closing = "That is the answer.\n<answer> \\boxed{156} </answer>"
)

func good() string { return wrap(opening + call("print(12*13)", "156") + closing) }

func TestAGoodRewritingIsSegments(t *testing.T) {
	for _, reply := range []string{good(), strings.ReplaceAll(good(), "\n", "\r\n"), strings.ReplaceAll(good(), "```python\n", ""),
		wrap(opening + "<code>print(12*13)</code>\n\n <interpreter>156</interpreter>" + closing)} {
		if !strings.Contains(reply, "```python") {
			reply = strings.ReplaceAll(reply, "```\n", "")
		}
		a, drop, err := newTestChecker().Check(t.Context(), testRow(1), reply)
		require.NoError(t, err)
		require.Nil(t, drop)
		require.Equal(t, []data.Segment{
			{Text: opening + "<code>\n```python\nprint(12*13)\n```\n</code>", Source: data.Policy},
			{Text: "\n<interpreter>\n156</interpreter>\n\n", Source: data.Tool},
			{Text: closing, Source: data.Policy},
		}, a.Segments)
	}
}

// An attempt that failed may stay, if the error is the one stated; the trace goes on after it.
func TestAFailedAttemptMayStay(t *testing.T) {
	reply := wrap(opening + call("print(x)", "NameError: name 'x' is not defined") + "Oops. " + call("x = 156\nprint(x)", "156") + closing)
	a, drop, err := newTestChecker().Check(t.Context(), testRow(1), reply)
	require.NoError(t, err)
	require.Nil(t, drop)
	require.Len(t, a.Segments, 5)
	require.Contains(t, a.Segments[1].Text, "Traceback")
}

func TestEveryDropHasItsReason(t *testing.T) {
	ok := call("print(12*13)", "156")
	for _, c := range []struct {
		reason Reason
		reply  string
	}{
		{NoProcess, "I cannot do that."},
		{NoProcess, openProcess + opening + ok + closing},
		{NoProcess, wrap("  ")},
		{Unbalanced, wrap(opening + "<code>\nprint(1)\n")},
		{Unbalanced, wrap(opening + "</code>" + ok + closing)},
		{Unbalanced, wrap(opening + "<interpreter>156</interpreter>" + ok + closing)},
		{Unbalanced, wrap(opening + ok + "<interpreter>156</interpreter>" + closing)},
		{Unbalanced, wrap(opening + "<code>print(1)</interpreter>" + closing)},
		{Unbalanced, wrap(opening + ok + "<answer>\\boxed{156}")},
		{Unbalanced, wrap(opening + "<code>\n```python\nprint(1)\n</code><interpreter>1</interpreter>" + closing)},
		{Nested, wrap(opening + "<code>print(1)<code>print(2)</code></code>" + closing)},
		{Nested, wrap(opening + "<code>print(1)<interpreter>1</interpreter></code>" + closing)},
		{Nested, wrap(opening + call("print(1)\n```\nmore\n```python\nprint(2)", "1") + closing)},
		{Nested, wrap(opening + "<code><answer>print(1)</answer></code>" + closing)},
		{NoCode, wrap(solution + "<answer>\\boxed{156}</answer>")},
		{NoCode, wrap(opening + call("", "1") + closing)},
		{NoResult, wrap(opening + "<code>\nprint(12*13)\n</code>\n" + closing)},
		{NoResult, wrap(opening + "<code>print(1)</code><code>print(2)</code><interpreter>2</interpreter>" + closing)},
		{NoPrint, wrap(opening + call("12*13", "156") + closing)},
		{ExecError, wrap(opening + call("print(1/0)", "156") + closing)},
		{ExecTimeout, wrap(opening + call("while True: pass\nprint(1)", "1") + closing)},
		{Mismatch, wrap(opening + call("print(12*13)", "157") + closing)},
		{Mismatch, wrap(opening + call("print(12*13)", "156.") + closing)},
		{Nondeterministic, wrap(opening + call("import os\nprint(os.urandom(16).hex())", "156") + closing)},
		{NoAnswer, wrap(opening + ok + "That is the answer, \\boxed{156}.")},
		{NoAnswer, wrap(opening + ok + "<answer>156</answer>")},
		{WrongAnswer, wrap(opening + ok + "<answer>\\boxed{157}</answer>")},
		{WrongAnswer, wrap(opening + ok + "<answer>\\boxed{'The final answer goes here.'}</answer>")},
		{AnswerNotLast, wrap(opening + "<answer>\\boxed{156}</answer>" + ok)},
		{AnswerNotLast, wrap(opening + ok + closing + " And so on.")},
		{AnswerNotLast, wrap(opening + ok + closing + closing)},
		{TooLong, wrap(opening + call("print('7 '*300)", strings.TrimSpace(strings.Repeat("7 ", 300))) + closing)},
		{ReasoningChanged, wrap("Let me see, this is something else entirely, as anyone can tell who reads on. " + ok + closing)},
	} {
		a, drop, err := newTestChecker().Check(t.Context(), testRow(1), c.reply)
		require.NoError(t, err)
		require.Nil(t, a, "%s", c.reply)
		require.Equal(t, c.reason, drop.Reason, "%s\n%s", c.reply, drop.Detail)
		require.NotEmpty(t, drop.Detail)
	}
	c := newTestChecker()
	c.Replace = true
	a, drop, err := c.Check(t.Context(), testRow(1), wrap(opening+call("print(12*13)", "157")+closing))
	require.NoError(t, err)
	require.Nil(t, drop)
	require.Equal(t, 1, a.Replaced)
	require.Contains(t, a.Segments[1].Text, "156")
}

// chat is a small server of the OpenAI-compatible API. answer says what the n-th request about a line gets.
type chat struct {
	*httptest.Server
	mu     sync.Mutex
	asked  map[int]int
	answer func(line, n int, w http.ResponseWriter, r *http.Request) bool // false: a good reply
}

func newChat(t *testing.T) *chat {
	c := &chat{asked: map[int]int{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q map[string]any
		if json.NewDecoder(r.Body).Decode(&q) != nil || r.URL.Path != "/v1/chat/completions" || r.Method != "POST" ||
			q["model"] != "writer" || q["stream"] != false {
			http.Error(w, `{"error":{"message":"not what the API takes"}}`, 404)
			return
		}
		content := q["messages"].([]any)[0].(map[string]any)["content"].(string)
		line := 0
		fmt.Sscanf(content[strings.Index(content, "What is 12 × 13? ("):], "What is 12 × 13? (%d)", &line)
		c.mu.Lock()
		c.asked[line]++
		n := c.asked[line]
		c.mu.Unlock()
		if c.answer != nil && c.answer(line, n, w, r) {
			return
		}
		say(w, good())
	}))
	t.Cleanup(c.Close)
	return c
}

func say(w http.ResponseWriter, text string) {
	json.NewEncoder(w).Encode(map[string]any{"choices": []any{map[string]any{"index": 0, "finish_reason": "stop",
		"message": map[string]any{"role": "assistant", "content": text}}}})
}

func (c *chat) job(t *testing.T, out string, rows int) *Job {
	e, err := NewEndpoint(c.URL+"/v1/", EndpointOptions{Model: "writer", Backoff: time.Millisecond, Attempts: 3, Timeout: 20 * time.Second})
	require.NoError(t, err)
	j := &Job{Ask: e.Ask, Checker: newTestChecker(), Settings: "test", Out: out, Parallel: 3}
	for i := range rows {
		j.Rows = append(j.Rows, testRow(i+1))
	}
	return j
}

// Whatever the endpoint does, accepted and dropped rows add up to those read, and broken answers are asked for again.
func TestAcceptedAndDroppedAreAll(t *testing.T) {
	c := newChat(t)
	c.answer = func(line, n int, w http.ResponseWriter, r *http.Request) bool {
		switch {
		case line == 1 && n == 1:
			fmt.Fprint(w, `{"choices":[{"mess`)
		case line == 2 && n == 1:
			w.Header().Set("Retry-After", "0.01")
			w.WriteHeader(429)
		case line == 3 && n < 3:
			w.WriteHeader(500)
		case line == 4:
			fmt.Fprint(w, `{"choices":[]}`)
		case line == 5 && n == 1:
			panic(http.ErrAbortHandler)
		case line == 6:
			http.Error(w, `{"error":{"message":"the prompt is too long"}}`, 400)
		case line == 7:
			say(w, "no")
		case line == 8:
			say(w, "")
		case line == 9:
			say(w, wrap(opening+call("print(12*13)", "157")+closing))
		default:
			return false
		}
		return true
	}
	out := filepath.Join(t.TempDir(), "out.jsonl")
	j := c.job(t, out, 12)
	j.Rows[11].Problem.Question = j.Rows[10].Problem.Question
	got, err := j.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, Report{Rows: 12, Accepted: 6, Asked: 11,
		Dropped: map[Reason]int{EndpointError: 2, NoProcess: 2, Mismatch: 1, Duplicate: 1}}, got)
	require.Equal(t, 3, c.asked[4])
	require.Equal(t, 1, c.asked[6])
	f, err := data.Open(out)
	require.NoError(t, err)
	defer f.Close()
	layout, err := f.Layout(data.Columns{}, true)
	require.NoError(t, err)
	var traces []data.Trace
	for trace, err := range (&data.Reader{File: f, Layout: layout}).Traces() {
		require.NoError(t, err)
		traces = append(traces, trace)
	}
	require.Len(t, traces, 6)
	require.Equal(t, []string{"p1", "p2", "p3", "p5", "p10", "p11"}, []string{traces[0].Problem.ID, traces[1].Problem.ID,
		traces[2].Problem.ID, traces[3].Problem.ID, traces[4].Problem.ID, traces[5].Problem.ID})
	require.Equal(t, EndpointError, got.Reasons()[0])
	_, err = j.Run(t.Context())
	require.ErrorContains(t, err, "is there already")
}

// A run that is cut, at whatever row and even in the middle of a journal's line, goes on and asks about no row twice; it ends as one that
// was not cut.
func TestAnInterruptedRunAsksNothingTwice(t *testing.T) {
	c := newChat(t)
	whole := filepath.Join(t.TempDir(), "whole.jsonl")
	_, err := c.job(t, whole, 8).Run(t.Context())
	require.NoError(t, err)
	want, err := os.ReadFile(whole)
	require.NoError(t, err)
	for stop := range 8 {
		c.mu.Lock()
		clear(c.asked)
		c.mu.Unlock()
		out := filepath.Join(t.TempDir(), "out.jsonl")
		ctx, cancel := context.WithCancel(t.Context())
		j := c.job(t, out, 8)
		j.Parallel = 1
		ask, replies := j.Ask, 0
		j.Ask = func(ctx context.Context, m string) (string, error) {
			if replies == stop {
				cancel()
				return "", ctx.Err()
			}
			replies++
			return ask(ctx, m)
		}
		_, err := j.Run(ctx)
		require.ErrorIs(t, err, context.Canceled)
		_, err = os.Stat(out)
		require.ErrorIs(t, err, os.ErrNotExist)
		f, err := os.OpenFile(JournalOf(out), os.O_APPEND|os.O_WRONLY, 0o644)
		require.NoError(t, err)
		f.WriteString(`{"line":3,"rep`)
		f.Close()
		got, err := c.job(t, out, 8).Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, 8, got.Accepted)
		require.Equal(t, 8-stop, got.Asked)
		for line, n := range c.asked {
			require.Equal(t, 1, n, "line %d", line)
		}
		text, err := os.ReadFile(out)
		require.NoError(t, err)
		require.Equal(t, string(want), string(text))
	}
}

// A reply that came before a crash is verified without asking again.
func TestAReplyIsKeptBeforeItIsVerified(t *testing.T) {
	c := newChat(t)
	out := filepath.Join(t.TempDir(), "out.jsonl")
	j := c.job(t, out, 1)
	broken := errors.New("no interpreter")
	j.Checker.Interpreter = failing{broken}
	_, err := j.Run(t.Context())
	require.ErrorIs(t, err, broken)
	got, err := c.job(t, out, 1).Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, got.Accepted)
	require.Zero(t, got.Asked)
	require.Equal(t, 1, c.asked[1])
}

type failing struct{ err error }

func (f failing) Run(context.Context, string) (Execution, error) { return Execution{}, f.err }

func TestAnEndpointThatIsDownEndsTheRun(t *testing.T) {
	c := newChat(t)
	down := true
	c.answer = func(line, n int, w http.ResponseWriter, r *http.Request) bool {
		if down {
			w.WriteHeader(503)
		}
		return down
	}
	out := filepath.Join(t.TempDir(), "out.jsonl")
	_, err := c.job(t, out, 20).Run(t.Context())
	require.ErrorContains(t, err, "the endpoint failed 5 rows in a row")
	down = false
	got, err := c.job(t, out, 20).Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 20, got.Accepted, "rows that an endpoint failed are asked again")

	c.answer = func(line, n int, w http.ResponseWriter, r *http.Request) bool {
		http.Error(w, `{"error":{"message":"Incorrect API key"}}`, http.StatusUnauthorized)
		return true
	}
	_, err = c.job(t, out+"2", 20).Run(t.Context())
	require.ErrorContains(t, err, `401 Unauthorized: "Incorrect API key"`)
	require.NotContains(t, err.Error(), "\n")
}

func TestASlowAnswerIsGivenUp(t *testing.T) {
	c := newChat(t)
	c.answer = func(line, n int, w http.ResponseWriter, r *http.Request) bool {
		if n == 1 {
			<-r.Context().Done()
		}
		return n == 1
	}
	e, err := NewEndpoint(c.URL+"/v1", EndpointOptions{Model: "writer", Backoff: time.Millisecond,
		Timeout: 300 * time.Millisecond, Attempts: 50})
	require.NoError(t, err)
	reply, err := e.Ask(t.Context(), prompt(testRow(1)))
	require.NoError(t, err)
	require.Equal(t, good(), reply)
}

// The rate holds for all workers together: a minute's worth of requests is not sent at once.
func TestTheRateIsKept(t *testing.T) {
	c := newChat(t)
	e, err := NewEndpoint(c.URL+"/v1", EndpointOptions{Model: "writer", Rate: 60_000 / 20}) // one in 20 ms
	require.NoError(t, err)
	start := time.Now()
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() { e.Ask(context.Background(), prompt(testRow(i+1))) })
	}
	all.Wait()
	require.GreaterOrEqual(t, time.Since(start), 100*time.Millisecond)
}

func TestAJournalOfAnotherJobIsRefused(t *testing.T) {
	c := newChat(t)
	out := filepath.Join(t.TempDir(), "out.jsonl")
	_, err := c.job(t, out, 3).Run(t.Context())
	require.NoError(t, err)
	require.NoError(t, os.Remove(out))
	j := c.job(t, out, 3)
	j.Settings = "other"
	_, err = j.Run(t.Context())
	require.ErrorContains(t, err, "other settings (test, now other)")
	j = c.job(t, out, 3)
	j.Rows[1].Problem.Answer = "157"
	_, err = j.Run(t.Context())
	require.ErrorContains(t, err, "is about line 2 of another input")
	require.NoError(t, os.WriteFile(JournalOf(out), []byte("hello\n"), 0o644))
	_, err = c.job(t, out, 3).Run(t.Context())
	require.ErrorContains(t, err, "line 1 is not of a journal")
}

func TestRowsAreRead(t *testing.T) {
	f := Fields{"q", "a", "s"}
	rows, err := ReadRows(strings.NewReader("\ufeff"+`{"q":"x","a":7,"s":"y","id":"i","family":"f","more":[1]}`+"\r\n\n"+
		`{"q":"x2","a":"1/2","s":"z"}`), "f.jsonl", f)
	require.NoError(t, err)
	require.Equal(t, []Row{{1, data.Problem{ID: "i", Family: "f", Question: "x", Answer: "7"}, "y"},
		{3, data.Problem{ID: "line-3", Question: "x2", Answer: "1/2"}, "z"}}, rows)
	for text, want := range map[string]string{
		"": "holds no rows", "[]\n": "f.jsonl:1: want one JSON object", `{"q":"x","a":"1"}`: `f.jsonl:1: no field "s"`,
		`{"q":" ","a":"1","s":"y"}`: `field "q" is empty`,
		`{"q":"x","a":[1],"s":"y"}`: `field "a": want text or a number`, `{"q":"x","a":"1","s":"y"`: "f.jsonl:1",
	} {
		_, err := ReadRows(strings.NewReader(text), "f.jsonl", f)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "\n")
	}
}
