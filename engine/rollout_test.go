package engine

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"retool/engine/model"
	"retool/engine/tokenizer"
	"retool/kernels"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		f.Value.Set("10") // a case is a dozen rollouts
	}
	os.Exit(m.Run())
}

// The tests' model is tiny and untrained, and its vocabulary so small that it opens and closes calls all the time.
func testTokenizer(t testing.TB) *tokenizer.Greedy {
	pieces := []string{"<code>", "</code>", "```python", "\n<interpreter>\n", "</interpreter>\n\n", "print(", ")"}
	for c := byte('a'); c <= 'h'; c++ {
		pieces = append(pieces, string(rune(c)))
	}
	tok, err := tokenizer.Words(pieces, []string{"<eos>"})
	require.NoError(t, err)
	return tok
}

func testModel(t testing.TB, dev kernels.Device, tok tokenizer.Tokenizer, seed uint64) *model.Model {
	m, err := model.New(dev, model.Config{
		Arch: model.Qwen2, Layers: 2, Hidden: 24, Heads: 4, KVHeads: 2, HeadDim: 8, FFN: 32, Vocab: tok.Size(), MaxPositions: 1024, KVChunk: 64,
		RMSEps: 1e-6, RopeTheta: 1e4, QKVBias: true, LMHead: true,
	}, model.Options{MaxTokens: 1024})
	require.NoError(t, err)
	m.Init(seed)
	t.Cleanup(m.Close)
	return m
}

// upper is an interpreter: it prints the code in capitals, repeated so that replies have many lengths, after a random while.
type upper struct{ delay time.Duration }

func (u upper) Run(ctx context.Context, key int64, code string) (Result, error) {
	if u.delay > 0 {
		time.Sleep(time.Duration(rand.Int64N(int64(u.delay))))
	}
	return Result{Status: "ok", Stdout: strings.Repeat(strings.ToLower(code), 1+len(code)%17)}, nil
}
func (upper) Forget(int64) {}

type failing struct{ err error }

func (f failing) Run(context.Context, int64, string) (Result, error) { return Result{}, f.err }
func (failing) Forget(int64)                                         {}

// hanging breaks the promise to return.
type hanging struct{ release chan struct{} }

func (h hanging) Run(context.Context, int64, string) (Result, error) {
	<-h.release
	return Result{Status: "ok"}, nil
}
func (hanging) Forget(int64) {}

type bench struct {
	dev   kernels.Device
	tok   *tokenizer.Greedy
	model *model.Model
	proto Protocol
	wave  wave // of the engines; none: what the machine has
}

func newBench(t testing.TB, seed uint64) *bench {
	b := &bench{dev: kernels.NewCPU(2), tok: testTokenizer(t)}
	t.Cleanup(func() { b.dev.Close() })
	b.model = testModel(t, b.dev, b.tok, seed)
	cfg := DefaultProtocol()
	cfg.Template = "plain"
	var err error
	b.proto, err = NewProtocol(cfg, b.tok, nil)
	require.NoError(t, err)
	return b
}

// restricted to its vocabulary's pieces: the bytes behind them would drown the tags.
func (b *bench) rollouts(t testing.TB, cfg Config, in Interpreter, groups []Group) ([]*Trajectory, Stats) {
	e, err := New(b.model, cfg, few{b.tok}, []int32{testEOS}, b.proto, in, len(groups)*8)
	require.NoError(t, err)
	defer e.Close()
	if b.wave != (wave{}) {
		e.wave = b.wave
	}
	trs, err := e.Rollouts(context.Background(), groups, Sampling{Seed: 7, Temperature: 1, TopP: 1})
	require.NoError(t, err)
	require.Equal(t, e.Pages()-1, len(e.pages.free), "every page is free after a rollout")
	return trs, e.Stats()
}

// few hides all but the first tokens from sampling.
type few struct{ *tokenizer.Greedy }

func (few) Size() int { return 17 }

const testEOS = 14 // an ordinary token that the tests let end a text: "h"

func testConfig() Config {
	cfg := DefaultConfig()
	cfg.MaxTokens, cfg.StepTokens, cfg.Turns = 300, 1024, 6
	return cfg
}

func randomGroups(t *rapid.T) []Group {
	var groups []Group
	key := int64(0)
	for range rapid.IntRange(1, 5).Draw(t, "groups") {
		g := Group{Prompt: rapid.SliceOfN(rapid.Int32Range(7, 13), 1, 150).Draw(t, "prompt")}
		for range rapid.IntRange(1, 4).Draw(t, "samples") {
			key++
			g.Keys = append(g.Keys, key)
		}
		groups = append(groups, g)
	}
	return groups
}

func requireSame(t require.TestingT, want, got []*Trajectory) {
	require.Equal(t, len(want), len(got))
	for i := range want {
		require.Equal(t, want[i].Tokens(), got[i].Tokens(), "trajectory %d", i)
		require.Equal(t, want[i].Finish, got[i].Finish)
	}
}

func TestRolloutsIgnoreBatchSlicingSharingWavesAndEviction(t *testing.T) {
	b := newBench(t, 1)
	check := func(groups []Group, stepTokens, morePages, wavePages int) (plain, tight Stats) {
		b.wave = wave{}
		want, plain := b.rollouts(t, testConfig(), upper{}, groups)
		require.Zero(t, plain.Recomputed)

		var alone []*Trajectory
		for _, g := range groups {
			for _, key := range g.Keys {
				trs, _ := b.rollouts(t, testConfig(), upper{}, []Group{{Prompt: g.Prompt, Keys: []int64{key}}})
				alone = append(alone, trs...)
			}
		}
		requireSame(t, want, alone)

		cfg := testConfig()
		cfg.StepTokens, cfg.Pages = stepTokens, kernels.PagesOf(cfg.MaxTokens)+1+morePages
		b.wave = wave{wavePages * kernels.PageTokens, 1, 1}
		got, tight := b.rollouts(t, cfg, upper{delay: time.Millisecond}, groups)
		requireSame(t, want, got)
		return plain, tight
	}
	rapid.Check(t, func(rt *rapid.T) {
		check(randomGroups(rt), rapid.IntRange(1, 40).Draw(rt, "step_tokens"), rapid.IntRange(0, 6).Draw(rt, "pages"),
			rapid.IntRange(0, 9).Draw(rt, "pages of a wave"))
	})
	// A crowd that has to share, copy, call and evict.
	var crowd []Group
	for i := range int64(4) {
		prompt := slices.Repeat([]int32{7, 8, 9, int32(10 + i)}, 35)
		crowd = append(crowd, Group{Prompt: prompt, Keys: []int64{4 * i, 4*i + 1, 4*i + 2, 4*i + 3}})
	}
	plain, tight := check(crowd, 40, 2, 8)
	require.Positive(t, tight.Recomputed, "nothing was evicted")
	require.Positive(t, plain.Shared)
	require.Positive(t, plain.Copies)
	require.Positive(t, plain.Calls)
}

func TestCacheSurvivesToolCalls(t *testing.T) {
	b := newBench(t, 2)
	var groups []Group
	for i := range 24 {
		groups = append(groups, Group{Prompt: []int32{7, 8, 9, int32(7 + i%7)}, Keys: []int64{int64(i)}})
	}
	trs, s := b.rollouts(t, testConfig(), upper{}, groups)
	replies, observed := 0, 0
	for _, tr := range trs {
		for _, c := range tr.Calls {
			if c.ReplyTo == tr.Len() {
				continue // it used up the budget, so nothing was fed any more
			}
			require.Equal(t, c.ReplyTo-c.ReplyFrom, c.Prefilled, "what is fed after a call is its reply, whatever the context's length")
			if c.Prefilled > 0 {
				replies++
				observed += c.Prefilled
			}
		}
	}
	require.Greater(t, replies, 10)
	require.EqualValues(t, observed+4*24, s.Prefilled)
	require.Zero(t, s.Recomputed)
}

func TestTokensCarryTheirProvenance(t *testing.T) {
	b := newBench(t, 3)
	rapid.Check(t, func(rt *rapid.T) {
		trs, _ := b.rollouts(t, testConfig(), upper{}, randomGroups(rt))
		for _, tr := range trs {
			reply := make([]bool, tr.Len())
			for _, c := range tr.Calls {
				for i := c.ReplyFrom; i < c.ReplyTo; i++ {
					reply[i] = true
				}
				turn := b.text(tr.Tokens()[c.From:c.To])
				require.True(t, strings.HasSuffix(turn, "</code>"), "a call's tokens end with the tag that closed it, got %q", turn)
				if strings.Contains(turn, "<code>") {
					require.True(t, strings.HasPrefix(turn, "<code>"), turn)
				}
			}
			for i, k := range tr.Tokens() {
				switch {
				case i < tr.Prompt:
					require.Equal(t, Prompt, k.Source)
				case reply[i]:
					require.Equal(t, Tool, k.Source)
				default:
					require.Equal(t, Policy, k.Source)
					require.Less(t, k.LogProb, float32(0))
				}
			}
		}
	})
}

func (b *bench) text(tokens []Token) string {
	var ids []int32
	for _, k := range tokens {
		ids = append(ids, k.ID)
	}
	return b.tok.Decode(ids)
}

func TestTrainingForwardGivesTheRolloutsLogProbs(t *testing.T) {
	b := newBench(t, 4)
	rapid.Check(t, func(rt *rapid.T) {
		trs, _ := b.rollouts(t, testConfig(), upper{}, randomGroups(rt))
		for _, tr := range trs {
			got := b.logProbs(t, tr, 1)
			for i, k := range tr.Tokens() {
				if k.Source == Policy {
					require.Equal(t, k.LogProb, got[i], "token %d of %d", i, tr.Len())
				}
			}
		}
	})
}

// logProbs is what a training forward of the bench's weights says of the policy's tokens, over their sets if they have any, by place.
func (b *bench) logProbs(t testing.TB, tr *Trajectory, temperature float32) map[int]float32 {
	var in model.Inputs
	var target []int32
	in.Starts = []int32{0, int32(tr.Len())}
	for i, k := range tr.Tokens() {
		in.IDs = append(in.IDs, k.ID)
		if k.Source == Policy {
			in.Rows, target = append(in.Rows, int32(i-1)), append(target, k.ID)
		}
	}
	s := model.NewScorer(b.dev, len(target))
	defer s.Close()
	s.Load(target)
	sets := model.Sets{Starts: []int32{0}}
	for set := range tr.Sets() {
		sets.IDs = append(sets.IDs, set...)
		sets.Starts = append(sets.Starts, int32(len(sets.IDs)))
	}
	s.Keep(sets)
	require.NoError(t, b.model.Score(in, func(h model.Head) { s.Score(h, temperature) }))
	values := s.LogProbs()
	out := map[int]float32{}
	for r, row := range in.Rows {
		out[int(row)+1] = values[r]
	}
	return out
}

func TestBudgetsEndTrajectories(t *testing.T) {
	b := newBench(t, 5)
	groups := []Group{{Prompt: []int32{7, 8}, Keys: []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}}}
	seen := map[Finish]int{}
	for _, turns := range []int{1, 2, 6} {
		for _, tokens := range []int{12, 40, 300} {
			cfg := testConfig()
			cfg.MaxTokens, cfg.Turns = tokens, turns
			trs, _ := b.rollouts(t, cfg, upper{}, groups)
			for _, tr := range trs {
				seen[tr.Finish]++
				require.LessOrEqual(t, tr.Len(), tokens)
				require.LessOrEqual(t, len(tr.Calls), turns)
				last := tr.Tokens()[tr.Len()-1]
				switch tr.Finish {
				case Answer:
					require.Equal(t, int32(testEOS), last.ID)
				case Turns:
					require.Len(t, tr.Calls, turns)
					require.Equal(t, "not_run", tr.Calls[turns-1].Result.Status)
				case Length:
					require.Equal(t, tokens, tr.Len())
				case Context:
					c := tr.Calls[len(tr.Calls)-1]
					require.Equal(t, c.ReplyFrom, c.ReplyTo)
					ids, _ := b.proto.Reply(Request{}, c.Result)
					require.Greater(t, tr.Len()+len(ids), tokens)
				}
			}
		}
	}
	for _, f := range []Finish{Answer, Turns, Length, Context} {
		require.Positive(t, seen[f], "no trajectory ended with %v", f)
	}
	cfg := testConfig()
	cfg.TurnTokens = 5
	trs, _ := b.rollouts(t, cfg, upper{}, groups)
	require.True(t, slices.ContainsFunc(trs, func(t *Trajectory) bool { return t.Finish == Length && t.Len() < 300 }))
}

func TestSandboxFailuresCostTheirTrajectoryOnly(t *testing.T) {
	b := newBench(t, 6)
	groups := []Group{{Prompt: []int32{7, 8}, Keys: []int64{1, 2, 3, 4, 5, 6, 7, 8}}}
	cfg := testConfig()
	cfg.MaxLost = 1
	broken := errors.New("no interpreter could be had")
	trs, s := b.rollouts(t, cfg, failing{broken}, groups)
	lost := 0
	for _, tr := range trs {
		if tr.Finish == Lost {
			lost++
			require.ErrorIs(t, tr.Err, broken)
		}
	}
	require.Positive(t, lost)
	require.EqualValues(t, lost, s.Lost)

	cfg.MaxLost = 0.01
	e, err := New(b.model, cfg, few{b.tok}, []int32{testEOS}, b.proto, failing{broken}, 8)
	require.NoError(t, err)
	_, err = e.Rollouts(context.Background(), groups, Sampling{Seed: 7, Temperature: 1, TopP: 1})
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, fmt.Sprintf("%d of 8 trajectories were lost", lost))
	e.Close()

	cfg.MaxLost, cfg.CallLimit = 1, 20*time.Millisecond
	h := hanging{make(chan struct{})}
	e, err = New(b.model, cfg, few{b.tok}, []int32{testEOS}, b.proto, h, 8)
	require.NoError(t, err)
	e.grace = time.Millisecond
	trs, err = e.Rollouts(context.Background(), groups, Sampling{Seed: 7, Temperature: 1, TopP: 1})
	close(h.release)
	require.NoError(t, err)
	i := slices.IndexFunc(trs, func(t *Trajectory) bool { return t.Finish == Lost })
	require.GreaterOrEqual(t, i, 0)
	require.ErrorContains(t, trs[i].Err, fmt.Sprintf("of trajectory %d has not come back after", trs[i].Key))
	e.Close()
}

func TestRolloutsRefuseWhatCannotFit(t *testing.T) {
	b := newBench(t, 7)
	cfg := testConfig()
	cfg.MaxTokens, cfg.MaxPrompt = 100, 10
	e, err := New(b.model, cfg, few{b.tok}, []int32{testEOS}, b.proto, upper{}, 1)
	require.NoError(t, err)
	_, err = e.Rollouts(context.Background(), []Group{{Prompt: make([]int32, 11), Keys: []int64{1}}}, Sampling{Temperature: 1, TopP: 1})
	require.ErrorContains(t, err, "prompt 1 of 1 has 11 tokens, want 1 to 10")
	e.Close()
	cfg = testConfig()
	cfg.Pages, cfg.Turns = 2, 1
	e, err = New(b.model, cfg, few{b.tok}, []int32{testEOS}, nil, nil, 1)
	require.NoError(t, err)
	_, err = e.Rollouts(context.Background(), []Group{{Prompt: make([]int32, 65), Keys: []int64{1}}}, Sampling{Temperature: 1, TopP: 1})
	require.ErrorContains(t, err, "one sequence needs more than the 1 KV pages of 64 tokens: raise engine.pages or lower engine.max_tokens")
	e.Close()
}

func TestRolloutsEndWithTheirContext(t *testing.T) {
	b := newBench(t, 8)
	h := hanging{make(chan struct{})}
	defer close(h.release)
	e, err := New(b.model, testConfig(), few{b.tok}, []int32{testEOS}, b.proto, h, 8)
	require.NoError(t, err)
	defer e.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err = e.Rollouts(
		ctx, []Group{{Prompt: []int32{7, 8}, Keys: []int64{1, 2, 3, 4, 5, 6, 7, 8}}}, Sampling{Seed: 7, Temperature: 1, TopP: 1},
	)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, e.Pages()-1, len(e.pages.free))
}
