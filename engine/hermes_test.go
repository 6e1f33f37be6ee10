package engine

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"retool/engine/tokenizer"
	"retool/kernels"
)

func hermes(t testing.TB, edit func(*ProtocolConfig)) *Hermes {
	tok := chatTokenizer(t)
	cfg := DefaultProtocol()
	cfg.Name, cfg.Template, cfg.Chat, cfg.Cap = "hermes", "plain", "chatml", 256
	if edit != nil {
		edit(&cfg)
	}
	var template *ChatTemplate
	if cfg.Chat == "auto" {
		template = readTemplate(t, "headers.jinja")
	}
	chat, err := NewChat(cfg.Chat, tok, template)
	require.NoError(t, err)
	p, err := NewProtocol(cfg, tok, chat)
	require.NoError(t, err)
	return p.(*Hermes)
}

const goodCall = `<tool_call>` + "\n" + `{"name": "code_interpreter", "arguments": {"code": "print(1)\n"}}` + "\n" + `</tool_call>`

func TestHermesCalls(t *testing.T) {
	p := hermes(t, func(c *ProtocolConfig) { c.Calls = "json" })
	call := func(body string) string { return "I compute.\n<tool_call>" + body + "</tool_call>" }
	for _, c := range []struct{ turn, code, invalid string }{
		{goodCall, "print(1)\n", ""},
		{"Let me see: " + goodCall + "\n", "print(1)\n", ""},
		{goodCall + goodCall, "print(1)\n", ""},
		{goodCall + call("x"), "print(1)\n", ""},
		{call(`{"arguments":{"code":"a"},"name":"code_interpreter"}`), "a", ""},
		{call(`{"name": "code_interpreter", "arguments": {"code": "see\n` +
			"```python\\n  x = 1\\n```\\nand ```python\\ny\\n```" + `"}}`), "x = 1", ""},
		{call(`{"name": "code_interpreter", "arguments": {"code": "s = '</tool_call'", "lang": 1}}`), "s = '</tool_call'", ""},
		{call(`{"name": "code_interpreter", "arguments": {"code": "a"}`), "", "invalid_json"},
		{call(`{"name": "code_interpreter", "arguments": {"code": "a` + "\n" + `b"}}`), "", "invalid_json"},
		{call(`{"name": "code_interpreter", "arguments": {"code": "a"}} done`), "", "invalid_json"},
		{call(``), "", "invalid_json"},
		{call(`print(1)`), "", "invalid_json"},
		{call(`{"name": "search", "arguments": {"query": "a"}}`), "", "unknown_tool"},
		{call(`{"name": "Code_Interpreter", "arguments": {"code": "a"}}`), "", "unknown_tool"},
		{call(`{"name": "", "arguments": {"code": "a"}}`), "", "unknown_tool"},
		{call(`{"Name": "code_interpreter", "arguments": {"code": "a"}}`), "", "invalid_arguments"},
		{call(`{"name": null, "arguments": {"code": "a"}}`), "", "invalid_arguments"},
		{call(`{"name": 3, "arguments": {"code": "a"}}`), "", "invalid_arguments"},
		{call(`["code_interpreter"]`), "", "invalid_arguments"},
		{call(`null`), "", "invalid_arguments"},
		{call(`{"name": "code_interpreter"}`), "", "invalid_arguments"},
		{call(`{"name": "code_interpreter", "arguments": "{\"code\": \"a\"}"}`), "", "invalid_arguments"},
		{call(`{"name": "code_interpreter", "arguments": {"code": ["a"]}}`), "", "invalid_arguments"},
		{call(`{"name": "code_interpreter", "arguments": {"code": null}}`), "", "invalid_arguments"},
		{call(`{"name": "code_interpreter", "arguments": {"Code": "a"}}`), "", "invalid_arguments"},
		{call(`{"name": "code_interpreter", "arguments": {"code": " \n"}}`), "", "empty_code"},
		{call(`{"name": "code_interpreter", "arguments": {"code": "` + "```python\\n```" + `"}}`), "", "empty_code"},
		{call(strings.Repeat("[", 100000)), "", "invalid_json"},
	} {
		q, called := p.Call([]byte(c.turn), 1, true)
		require.True(t, called, c.turn)
		require.Equal(t, c.code, q.Code, c.turn)
		require.Equal(t, c.invalid, q.Invalid, "%.80s", c.turn)
		require.Equal(t, strings.Index(c.turn, openCall), q.From)
		_, called = p.Call([]byte(c.turn), 1, false)
		require.False(t, called, "a call is made when its turn ends")
		if c.invalid != "" {
			require.Contains(t, p.Observation(Result{Status: c.invalid}), "Error: ")
		}
	}
	for _, turn := range []string{"", "The answer is 4.", "I write <tool_call> and stop", "</tool_call> <tool_call>",
		"<code>print(1)</code>"} {
		_, called := p.Call([]byte(turn), 1, true)
		require.False(t, called, turn)
	}
}

// With calls: loose what models misspell is read, and nothing that has more than one reading.
func TestCallsThatAreNearlyJSON(t *testing.T) {
	p := hermes(t, nil)
	for body, want := range map[string]string{
		"{\"name\": \"code_interpreter\", \"arguments\": {\"code\": \"a\nb\"}}":                        "a\nb",
		"{'name': 'code_interpreter', 'arguments': {'code': 'print(\"a\")'}}":                          `print("a")`,
		`{"name": "code_interpreter", "arguments": {"code": 'print(\'a\', "b")'}}`:                     `print('a', "b")`,
		"{\"name\": \"code_interpreter\", \"arguments\": {\"code\": \"\"\"\nprint('\\n')\n\"\"\"}}":    "\nprint('\\n')\n",
		`{"name": "code_interpreter", "arguments": {"code": """a\nb"""}}`:                              "a\nb",
		"{\"name\": \"code_interpreter\", \"arguments\": {\"code\": ```python\na\n```}}":               "a",
		`{"name": "code_interpreter", "arguments": {"code": "a", "t": True, "x": None,},}`:             "a",
		`{name: "code_interpreter", arguments: {code: "a", n: -1.5e3, l: [1, 2,]}}`:                    "a",
		`{"name": "code_interpreter", "arguments": {"code": "a"}`:                                      "a",
		`{"name": "code_interpreter", "arguments": {"code": "a"`:                                       "a",
		`{"name": "code_interpreter", "arguments": {"code": "a"}}}`:                                    "a",
		"```json\n{\"name\": \"code_interpreter\", \"arguments\": {\"code\": \"a\"}}\n```":             "a",
		`{"name": "code_interpreter", "arguments": "{\"code\": \"a\"}"}`:                               "a",
		`{"name": "code_interpreter", "arguments": {"code": "re.sub('\d', '\u00e9\ud83d\ude00', s)"}}`: `re.sub('\d', 'é😀', s)`,

		`{"name": "code_interpreter", "arguments": {"code": "print("a")"}}`:      "invalid_json",
		`{"name": "code_interpreter", "arguments": {"code": "print("a", "b")"}}`: "invalid_json",
		`{"name": "code_interpreter", "arguments": {"code": 'it's'}}`:            "invalid_json",
		`{"name": "code_interpreter", "arguments": {"code": "a}}`:                "invalid_json",
		`{"name": "code_interpreter", "arguments": {"code": "a"}} done`:          "invalid_json",
		`{"name": "code_interpreter", "arguments": {"code": a}}`:                 "invalid_json",
		`{"name": "code_interpreter" "arguments": {"code": "a"}}`:                "invalid_json",
		`{"name": "code_interpreter", "arguments": {"code": 5,}}`:                "invalid_arguments",
		`{"name": 'search', "arguments": {"query": "a"}}`:                        "unknown_tool",
		`{"name": "code_interpreter", "arguments": {"code": '',}}`:               "empty_code",
		`print(1)`:                      "invalid_json",
		``:                              "invalid_json",
		strings.Repeat("[", 100000):     "invalid_json",
		strings.Repeat(`{"a":`, 100000): "invalid_json",
	} {
		q, called := p.Call([]byte(openCall+body+closeCall), 1, true)
		require.True(t, called)
		require.Equal(t, want, q.Code+q.Invalid, "%.80s", body)
	}
	holds := openCall + `{"name": "code_interpreter", "arguments": {"code": "print('</tool_call>')"}}` + closeCall
	q, _ := p.Call([]byte("So: "+holds), 1, true)
	require.Equal(t, "print('</tool_call>')", q.Code)
	require.Equal(t, "So: \\boxed{1}", p.OutsideCode("So: "+holds+"\\boxed{1}"))
	require.NotEqual(t, p.Contract(), hermes(t, func(c *ProtocolConfig) { c.Calls = "json" }).Contract())
}

// Any code comes back from any spelling of a call; and what is JSON means the same however it is read.
func TestEverySpellingOfACallHoldsItsCode(t *testing.T) {
	escape := func(code, quote string) string {
		return strings.NewReplacer(`\`, `\\`, quote, `\`+quote).Replace(code)
	}
	often(t, func(rt *rapid.T) {
		lines := rapid.SliceOfN(rapid.OneOf(pythonLine, rapid.StringMatching(`[a-z(){}"',:\\\[\]é ]*`)), 1, 5).Draw(rt, "lines")
		code := "#" + strings.ReplaceAll(strings.Join(lines, "\n"), "`", "")
		quote := rapid.SampledFrom([]string{`"`, "'"}).Draw(rt, "quote")
		written := quote + escape(code, quote) + quote
		if rapid.Bool().Draw(rt, "one line") {
			written = strings.ReplaceAll(written, "\n", `\n`)
		}
		text := "{" + quote + "name" + quote + ": '" + toolName + "', arguments: {'t': None, 'code': " + written +
			rapid.SampledFrom([]string{"", ",", " , "}).Draw(rt, "comma") +
			rapid.SampledFrom([]string{"", "}", "}}", "}\n}\n", "}}}"}).Draw(rt, "end")
		got, invalid := parseCall(text, true)
		require.Equal(rt, "", invalid, text)
		require.Equal(rt, code, got)
		exact, err := json.Marshal(map[string]any{"a": code, "b": []any{true, nil, 1.5, map[string]any{}}})
		require.NoError(rt, err)
		read, err := looseJSON(string(exact))
		require.NoError(rt, err)
		require.Equal(rt, map[string]any{"a": code, "b": []any{true, nil, 1.5, map[string]any{}}}, read)
		_, _ = looseJSON(rapid.StringMatching("[{}\\[\\]\"'`:, a1\\\\\n]*").Draw(rt, "any")) // whatever it is, there is an end
	})
}

func TestHermesReplies(t *testing.T) {
	ok := Result{Status: "ok", Stdout: "42\n"}
	for chat, want := range map[string]string{
		"chatml": "\n<|im_start|>user\n<tool_response>\n42\n\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
		"auto":   "<|start_header_id|>ipython<|end_header_id|>\n\n42\n<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
	} {
		p := hermes(t, func(c *ProtocolConfig) { c.Chat = chat })
		ids, seamless := p.Reply(Request{}, ok)
		require.True(t, seamless)
		require.Equal(t, want, named(p.tok, ids))
		require.Len(t, specials(p.tok, ids), strings.Count(want, "<|"))
		require.Equal(t, ids, p.Observed("<tool_response>\n42\n\n</tool_response>"), "as in stored traces")
	}
	p := hermes(t, nil)
	last := hermes(t, func(c *ProtocolConfig) { c.Error = "last-line" })
	failed := Result{Status: "exception", Stdout: "before\n", Traceback: "Traceback:\nNameError: x\n"}
	require.Equal(t, "before\nTraceback:\nNameError: x\n", p.Observation(failed))
	require.Equal(t, "NameError: x", last.Observation(failed))
	for _, status := range []string{"timeout_cpu", "timeout_wall", "memory", "killed"} {
		require.Equal(t, "no stdout here", p.Observation(Result{Status: status, Stdout: "half", Traceback: "Killed"}))
	}
	long := strings.Repeat("é", 128) + "x" + strings.Repeat("ü", 128)
	require.Equal(t, strings.Repeat("é", 128)+"...(truncated)..."+strings.Repeat("ü", 128), p.Observation(Result{Status: "ok", Stdout: long}))
	require.Equal(t, long[2:], p.Observation(Result{Status: "ok", Stdout: long[2:]}), "256 characters are not cut")
}

// Whatever a program prints, and whatever a question holds, the turns of the chat are those of the template.
func TestHermesCannotBeForged(t *testing.T) {
	for _, chat := range []string{"chatml", "auto"} {
		p := hermes(t, func(c *ProtocolConfig) { c.Chat = chat })
		forged := append([]string{"<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<code>", "<answer>",
			"<|", "im_end", "|>", "\x1b[31m", "\x00", "\xff", "<", ">", "/", "\n", "\u200b", "tool_", "response>"}, chatTokens...)
		empty, _ := p.Reply(Request{}, Result{Status: "ok"})
		plain, err := p.Prompt("a")
		require.NoError(t, err)
		often(t, func(rt *rapid.T) {
			out := strings.Join(rapid.SliceOfN(rapid.OneOf(rapid.SampledFrom(forged), rapid.String()), 0, 60).Draw(rt, "output"), "")
			s := p.Observation(Result{Status: "ok", Stdout: out})
			require.Equal(rt, strings.ToValidUTF8(s, ""), s)
			for _, mark := range append(protocolMarks(), chatTokens...) {
				require.NotContains(rt, s, mark)
			}
			ids, _ := p.Reply(Request{}, Result{Status: "ok", Stdout: out})
			require.Equal(rt, specials(p.tok, empty), specials(p.tok, ids))
			stored := p.Observed(openResponse + "\n" + out + "\n" + closeResponse)
			require.Equal(rt, specials(p.tok, empty), specials(p.tok, stored))
			prompt, err := p.Prompt("a" + out)
			require.NoError(rt, err)
			require.Equal(rt, specials(p.tok, plain), specials(p.tok, prompt))
			require.Subset(rt, []string{named(p.tok, []int32{p.chat.end})}, specials(p.tok, p.Turn(out, true)), "a stored turn ends once")
			require.Empty(rt, specials(p.tok, p.Turn(out, false)))
		})
	}
}

func TestHermesTracesAreChecked(t *testing.T) {
	p := hermes(t, nil)
	reply := "<tool_response>\n1\n</tool_response>"
	require.Empty(t, p.ReplyFault("Text\n"+goodCall, reply))
	require.Empty(t, p.TextFault("Text\n"+goodCall))
	require.Contains(t, p.ReplyFault(goodCall+goodCall, reply), "several calls")
	require.Contains(t, p.ReplyFault("Text", reply), "holds no <tool_call>")
	require.Contains(t, p.ReplyFault("<tool_call>x</tool_call>", reply), "invalid_json")
	require.Contains(t, p.ReplyFault(goodCall, "<interpreter>\n1</interpreter>"), "not in the form")
	require.Contains(t, p.TextFault(reply), "would learn to write")
	require.Equal(t, "A \nB \\boxed{1}", p.OutsideCode("A "+goodCall+"\nB \\boxed{1}"))
	require.Equal(t, "A ", p.OutsideCode("A <tool_call>\n{\"name\": \"code_interpreter\", \"arguments\": {\"code\": \"\\boxed{2}"))
	require.Equal(t, "the word <tool_call> \\boxed{3}", p.OutsideCode("the word <tool_call> \\boxed{3}"))
}

func TestHermesWantsAChatWithTools(t *testing.T) {
	cfg := DefaultProtocol()
	cfg.Name, cfg.Template = "hermes", "verl"
	require.NoError(t, cfg.Validate())
	tok := chatTokenizer(t)
	_, err := NewProtocol(cfg, tok, nil)
	require.ErrorContains(t, err, "protocol.chat chatml takes Qwen2.5's")
	chat, err := NewChat("auto", tok, readTemplate(t, "smollm2.jinja"))
	require.NoError(t, err)
	_, err = NewProtocol(cfg, tok, chat)
	require.ErrorContains(t, err, "does not tell of tools")
	require.ErrorContains(t, err, "chatml takes Qwen2.5's")
	special, err := tokenizer.Words([]string{"a"}, append([]string{"<tool_call>"}, chatTokens...))
	require.NoError(t, err)
	chat, err = NewChat("chatml", special, nil)
	require.NoError(t, err)
	_, err = NewProtocol(cfg, special, chat)
	require.ErrorContains(t, err, "it is a special token")
	for _, edit := range []func(*ProtocolConfig){
		func(c *ProtocolConfig) { c.Template = "retool-repo" }, func(c *ProtocolConfig) { c.Chat = "none" },
		func(c *ProtocolConfig) { c.Chat = "x" }, func(c *ProtocolConfig) { c.Cap = 7 }, func(c *ProtocolConfig) { c.Error = "x" },
	} {
		bad := cfg
		edit(&bad)
		require.ErrorContains(t, bad.Validate(), "protocol.")
	}
}

// newHermesBench has a model whose few words make calls, whole and broken ones, all the time. A turn ends at testEOS.
func newHermesBench(t testing.TB, seed uint64) *bench {
	call := func(name, code string) string {
		text, _ := json.Marshal(code)
		return openCall + `{"name": "` + name + `", "arguments": {"code": ` + string(text) + `}}` + closeCall
	}
	tok, err := tokenizer.Words([]string{
		call(toolName, "abc"), call(toolName, "xy\nz"), call(toolName, ""), call("search", "a"), openCall + "{" + closeCall,
		openCall + `{"name": "code_interpreter"}` + closeCall,
		openCall, "a", "b", "c", "d", "e", "f", "g", "h", closeCall, "<answer>", // the model's
		"\n" + openResponse + "\n", "\n" + closeResponse, "user", "assistant", // the runtime's
	}, []string{turnStart, turnEnd})
	require.NoError(t, err)
	b := &bench{dev: kernels.NewCPU(2), tok: tok}
	t.Cleanup(func() { b.dev.Close() })
	b.model = testModel(t, b.dev, tok, seed)
	cfg := DefaultProtocol()
	cfg.Name, cfg.Template, cfg.Chat = "hermes", "plain", "chatml"
	chat, err := NewChat(cfg.Chat, tok, nil)
	require.NoError(t, err)
	b.proto, err = NewProtocol(cfg, tok, chat)
	require.NoError(t, err)
	return b
}

// What holds of rollouts in tags holds in hermes: provenance, the cache, equal tokens under any scheduling, equal log-probabilities.
func TestHermesRollouts(t *testing.T) {
	b := newHermesBench(t, 21)
	cfg := testConfig()
	cfg.MaxTokens = 700
	continued := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		groups := randomGroups(rt)
		trs, stats := b.rollouts(t, cfg, upper{delay: time.Millisecond}, groups)
		require.Zero(t, stats.Recomputed)
		tight := cfg
		tight.Pages, tight.StepTokens = kernels.PagesOf(cfg.MaxTokens)+2, 40
		again, _ := b.rollouts(t, tight, upper{}, groups)
		requireSame(t, trs, again)
		for _, tr := range trs {
			reply := make([]bool, tr.Len())
			for _, c := range tr.Calls {
				request := tr.Tokens()[c.From:c.To]
				require.True(t, strings.HasPrefix(b.text(request), openCall), b.text(request))
				last := request[len(request)-1]
				require.Equal(t, int32(testEOS), last.ID, "the token that ended the turn stays as it was sampled")
				require.Equal(t, Policy, last.Source)
				want, _ := b.proto.Reply(Request{}, c.Result)
				for i := c.ReplyFrom; i < c.ReplyTo; i++ {
					reply[i] = true
					require.Equal(t, want[i-c.ReplyFrom], tr.Tokens()[i].ID)
				}
				if c.ReplyTo > c.ReplyFrom && c.ReplyTo < tr.Len() {
					continued[c.Result.Status]++
					require.Equal(t, c.ReplyTo-c.ReplyFrom, c.Prefilled, "what is fed after a call is its reply")
				}
			}
			got := b.logProbs(t, tr, 1)
			for i, k := range tr.Tokens() {
				switch {
				case i < tr.Prompt:
					require.Equal(t, Prompt, k.Source)
				case reply[i]:
					require.Equal(t, Tool, k.Source)
				default:
					require.Equal(t, Policy, k.Source)
					require.Equal(t, k.LogProb, got[i])
				}
			}
			if tr.Finish == Answer {
				require.Equal(t, int32(testEOS), tr.Tokens()[tr.Len()-1].ID)
			}
		}
	})
	for _, status := range []string{"ok", "invalid_json", "unknown_tool", "invalid_arguments", "empty_code"} {
		require.Positive(t, continued[status], "no trajectory went on after %s", status)
	}
}
