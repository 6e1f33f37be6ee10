package engine

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"retool/engine/tokenizer"
)

func TestPublishedPromptIsMatchedByteForByte(t *testing.T) {
	require.Len(t, retoolRepo, 867)
	require.Equal(t, "ab2856d07729556d8da76699a93d50623820efdd476c2569ce1396f0c4e56afb", fmt.Sprintf("%x", sha256.Sum256([]byte(retoolRepo))))
	got := Render("retool-repo", "What is {query}?")
	require.Equal(t, 1, strings.Count(got, "What is {query}?"), "a question is put in once, whatever it holds")
	require.Contains(t, Render("paper-fig7", "Q"), "User Question:\nQ\n\nAssistant:")
	require.Equal(t, "Q\n", Render("plain", "Q"))
}

func tags(t testing.TB, edit func(*ProtocolConfig)) *Tags {
	tok, err := tokenizer.Words([]string{"<code>", "</code>", "</code>\n", "a"}, []string{"<eos>", "<|im_end|>"})
	require.NoError(t, err)
	cfg := DefaultProtocol()
	cfg.Template = "plain"
	if edit != nil {
		edit(&cfg)
	}
	p, err := NewProtocol(cfg, tok, nil)
	require.NoError(t, err)
	return p.(*Tags)
}

func TestCallClosesWithTheTokenThatCompletesTheTag(t *testing.T) {
	p := tags(t, nil)
	rapid.Check(t, func(rt *rapid.T) {
		// Wherever the text is cut into tokens, exactly the one that brings the tag's last byte closes the call.
		text := "<code>print(1)</code>\n\nmore"
		end := strings.Index(text, closeCode) + len(closeCode)
		for at := 0; at < len(text); {
			n := rapid.IntRange(1, min(9, len(text)-at)).Draw(rt, "token")
			q, closed := p.Call([]byte(text[:at+n]), n, false)
			require.Equal(rt, at < end && at+n >= end, closed)
			if closed {
				require.Equal(rt, text[end:at+n], string(q.Extra))
				return // as the engine does
			}
			at += n
		}
	})
	_, closed := p.Call([]byte("<code>print(1)</code>"), 0, true)
	require.False(t, closed, "the end of a turn asks for nothing")
}

func TestReplyContinuesWhatTheClosingTokenCarried(t *testing.T) {
	p := tags(t, nil)
	r := Result{Status: "ok", Stdout: "42\n"}
	for _, c := range []struct {
		extra, want string
		seamless    bool
	}{
		{"", "\n<interpreter>\n42</interpreter>\n\n", true},
		{"\n", "<interpreter>\n42</interpreter>\n\n", true},
		{" ", "\n<interpreter>\n42</interpreter>\n\n", false},
	} {
		ids, seamless := p.Reply(Request{Extra: []byte(c.extra)}, r)
		require.Equal(t, c.want, p.tok.Decode(ids))
		require.Equal(t, c.seamless, seamless)
	}
	for form, want := range map[string]string{
		"agent-r1": "\n<interpreter>\n42\n</interpreter>\n",
		"slime":    "\n\n<interpreter>\n42\n</interpreter>\n\n",
	} {
		q := tags(t, func(c *ProtocolConfig) { c.Feedback = form })
		ids, _ := q.Reply(Request{}, r)
		require.Equal(t, want, q.tok.Decode(ids))
		require.NotEqual(t, p.Contract(), q.Contract(), "the form is part of the contract")
	}
}

func TestObservations(t *testing.T) {
	p := tags(t, nil)
	last := tags(t, func(c *ProtocolConfig) { c.Error = "last-line" })
	trace := "Traceback (most recent call last):\n  File \"<cell>\", line 1, in <module>\nNameError: name 'x' is not defined\n"
	failed := Result{Status: "exception", Stdout: "before\n", Traceback: trace}
	require.Equal(t, "before\n"+strings.TrimSpace(trace), p.Observation(failed))
	require.Equal(t, "NameError: name 'x' is not defined", last.Observation(failed))
	require.Equal(t, "10%\n20%\ndone", p.Observation(Result{Status: "ok", Stdout: "10%\r20%\rdone\r"}))
	require.Equal(t, "bad", last.Observation(Result{Status: "exception", Traceback: "Trace\u2028bad\r\n"}))
	require.Equal(t, "1\n2", p.Observation(Result{Status: "ok", Stdout: " 1\n2 \n\n"}))
	require.Equal(t, "Timeout Error", p.Observation(Result{Status: "timeout_cpu"}))
	require.Equal(t, "Timeout Error", p.Observation(Result{Status: "timeout_wall"}))
	require.Equal(t, "None", p.Observation(Result{Status: "empty_code"}))
	require.Equal(t, "Killed: memory", p.Observation(Result{Status: "memory", Traceback: "Killed: memory"}))
	long := strings.Repeat("é", 200) + "x" + strings.Repeat("ü", 200)
	require.Equal(t, strings.Repeat("é", 200)+"..."+strings.Repeat("ü", 200), p.Observation(Result{Status: "ok", Stdout: long}))
	require.Equal(t, long[:len(long)-2], p.Observation(Result{Status: "ok", Stdout: long[:len(long)-2]}), "400 characters are not cut")
}

// Whatever a program prints, its observation is valid text that neither opens nor closes anything and spells no special token.
func TestObservationsAreInert(t *testing.T) {
	p := tags(t, nil)
	forged := []string{
		"<code>", "</code>", "<interpreter>", "</interpreter>", "<tool_response>", "<answer>", "</answer>", "<eos>", "<|im_end|>",
		"<|im_start|>", "\x1b[31m", "\r", "\u2028", "\x1b]0;", "\x07", "\U000e0063", "\x00", "\xff", "<", ">", "/", "code", "\u200b",
		"\x1b", "[", "m",
	}
	often(t, func(rt *rapid.T) {
		out := strings.Join(rapid.SliceOfN(rapid.OneOf(rapid.SampledFrom(forged), rapid.String()), 0, 30).Draw(rt, "output"), "")
		s := p.Observation(Result{Status: "ok", Stdout: out})
		require.True(rt, strings.ToValidUTF8(s, "") == s)
		for _, tag := range forged[:12] {
			require.NotContains(rt, s, tag)
		}
		ids, _ := p.Reply(Request{}, Result{Status: "ok", Stdout: out})
		for _, id := range ids {
			require.NotNil(rt, p.tok.Bytes(id), "a special token")
		}
	})
}

func TestProtocolSettingsAreChecked(t *testing.T) {
	for _, edit := range []func(*ProtocolConfig){
		func(c *ProtocolConfig) { c.Name = "hermess" }, func(c *ProtocolConfig) { c.Feedback = "x" },
		func(c *ProtocolConfig) { c.Template = "x" },
		func(c *ProtocolConfig) { c.Error = "x" }, func(c *ProtocolConfig) { c.NoFence = "x" }, func(c *ProtocolConfig) { c.Cap = 7 },
	} {
		c := DefaultProtocol()
		require.NoError(t, c.Validate())
		edit(&c)
		require.ErrorContains(t, c.Validate(), "protocol.")
	}
	c := DefaultProtocol()
	c.Name, c.Template, c.Calls = "hermes", "verl", "x"
	require.ErrorContains(t, c.Validate(), "protocol.calls: ")
}

// Another protocol, of which nothing is known outside its file, parens_test.go: its marks pause rollouts, the paper's do not, and what
// holds of rollouts holds.
func TestASecondProtocolIsOneFile(t *testing.T) {
	b := newBench(t, 12)
	proto, err := NewProtocol(ProtocolConfig{Name: "parens"}, b.tok, nil)
	require.NoError(t, err)
	b.proto = proto
	ran, unheard := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		groups := randomGroups(rt)
		trs, _ := b.rollouts(t, testConfig(), upper{delay: time.Millisecond}, groups)
		tight := testConfig()
		tight.Pages, tight.StepTokens = 11, 40
		again, _ := b.rollouts(t, tight, upper{}, groups)
		requireSame(t, trs, again)
		for _, tr := range trs {
			var ids []int32
			for _, k := range tr.Tokens() {
				ids = append(ids, k.ID)
			}
			for _, c := range tr.Calls {
				turn := b.tok.Decode(ids[c.From:c.To])
				require.Equal(t, "print("+c.Code+")", turn)
				if c.ReplyTo > c.ReplyFrom {
					reply := b.tok.Decode(ids[c.ReplyFrom:c.ReplyTo])
					require.Equal(t, "="+proto.Observation(c.Result)+";", reply)
					require.Empty(t, proto.ReplyFault(turn, reply))
					ran++
				}
			}
			said := b.tok.Decode(ids[tr.Prompt:])
			unheard += strings.Count(said, closeCode)
			require.NotRegexp(t, `print\([^)]*\)`, proto.OutsideCode(said))
			got := b.logProbs(t, tr, 1)
			for i, k := range tr.Tokens() {
				if k.Source == Policy {
					require.Equal(t, k.LogProb, got[i], "token %d of %d", i, tr.Len())
				}
			}
		}
	})
	require.Positive(t, ran, "calls that paused and went on")
	require.Positive(t, unheard, "tags of the paper's, which are text here")
	_, err = NewProtocol(ProtocolConfig{Name: "braces"}, b.tok, nil)
	require.ErrorContains(t, err, `protocol.name: "braces" is not known`)
}
