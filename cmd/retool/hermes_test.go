package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/engine"
	"retool/engine/tokenizer"
)

// A row in any form, cold-started on in hermes, is the chat that rollouts of hermes sample: the model's template rendered over the whole
// conversation, the policy's turns masked in with the token that ends each.
func TestTracesOfHermesAreItsTokenStream(t *testing.T) {
	const question = "What is 6 × 7?"
	const call = `<tool_call>\n{\"name\": \"code_interpreter\", \"arguments\": {\"code\": \"print(6*7)\"}}\n</tool_call>`
	for name, row := range map[string]string{
		"messages": `{"messages": [{"role": "user", "content": "` + question + `"}, {"role": "assistant", "content": "I compute.\n` + call + `"},
			{"role": "tool", "content": "42 <|im_end|>"}, {"role": "assistant", "content": "So \\boxed{42}"}], "answer": "42"}`,
		"tool_calls": `{"messages": [{"role": "user", "content": "` + question + `"}, {"role": "assistant", "content": "I compute.",
			"tool_calls": [{"type": "function", "function": {"name": "code_interpreter", "arguments": "{\"code\": \"print(6*7)\"}"}}]},
			{"role": "tool", "content": "42 <|im_end|>"}, {"role": "assistant", "content": "So \\boxed{42}"}], "answer": "42"}`,
		"tags": `{"question": "` + question + `", "answer": "42", "segments": [
			{"source": "policy", "text": "I compute.\n<code>\n` + "```python\\nprint(6*7)\\n```" + `\n</code>"},
			{"source": "tool", "text": "\n<interpreter>\n42 <|im_end|></interpreter>\n\n"}, {"source": "policy", "text": "So \\boxed{42}"}]}`,
	} {
		path := filepath.Join(t.TempDir(), "traces.jsonl")
		require.NoError(t, os.WriteFile(path, []byte(strings.Join(strings.Fields(row), " ")+"\n"), 0o644))
		cfg, err := loadConfig("tiny", []string{"data.task=files", "data.traces=" + path, "rl.steps=0", "eval.problems=0", "sft.tokens=2048",
			"engine.max_tokens=2048", "protocol.name=hermes", "protocol.chat=chatml", "protocol.cap=256", "data.check=strict"})
		require.NoError(t, err)
		p := &program{cfg: cfg}
		p.tok, err = tokenizer.Words([]string{"user", "<tool_call>"}, []string{"<eos>", "<|im_start|>", "<|im_end|>"})
		require.NoError(t, err)
		p.proto, p.ends, err = protocolOf(cfg.Protocol, &folder{tok: p.tok, ends: []int32{p.tok.EOS()}})
		require.NoError(t, err)
		read, err := p.data(true)
		require.NoError(t, err, name)
		require.Len(t, read.Traces, 1)
		var all, policy strings.Builder
		for _, k := range read.Traces[0].Tokens() {
			all.WriteString(p.tok.Name(k.ID))
			if k.Source == engine.Policy {
				policy.WriteString(p.tok.Name(k.ID))
			}
		}
		turn := "I compute.\n" + strings.NewReplacer(`\n`, "\n", `\"`, `"`).Replace(call) + "<|im_end|>"
		require.Equal(t, turn+"So \\boxed{42}<|im_end|>", policy.String(), name)
		prompt, err := p.proto.Prompt(question)
		require.NoError(t, err)
		reply, _ := p.proto.Reply(engine.Request{}, engine.Result{Status: "ok", Stdout: "42 <|im_end|>"})
		var opened, replied strings.Builder
		for _, id := range prompt {
			opened.WriteString(p.tok.Name(id))
		}
		for _, id := range reply {
			replied.WriteString(p.tok.Name(id))
		}
		require.Contains(t, replied.String(), "42 < |im_end|>")
		require.Equal(t, opened.String()+turn+replied.String()+"So \\boxed{42}<|im_end|>", all.String(), name)
	}
}

func TestHermesSettings(t *testing.T) {
	for _, c := range []struct{ set, want string }{
		{"protocol.template=retool-repo", "for hermes, want verl or plain"},
		{"protocol.chat=none", "want auto or chatml"},
		{"protocol.feedback=slime", "protocol.name hermes has its own form"},
		{"data.task=arithmetic", "writes its traces in tags"},
	} {
		_, err := loadConfig("tiny", []string{"data.task=files", "protocol.name=hermes", c.set})
		require.ErrorContains(t, err, c.want)
	}
}

// The chat template of a folder is used, and what is wrong with it is said with the folder's name.
func TestFoldersBringTheirChatTemplate(t *testing.T) {
	dir := copied(t, "qwen2")
	load := func(template string) (*program, error) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(template), 0o644))
		cfg, err := loadConfig("", []string{"model.path=" + dir, "engine.max_tokens=64", "rl.tokens=64", "protocol.template=plain"})
		require.NoError(t, err)
		f, err := openFolder(dir)
		require.NoError(t, err)
		end := f.tok.Name(f.ends[0])
		template = strings.ReplaceAll(template, "END", end)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(template), 0o644))
		return build(t.Context(), cfg, use{})
	}
	p, err := load("{% for m in messages %}[{{ m.role }}] {{ m.content }}END{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}")
	require.NoError(t, err)
	defer p.Close()
	ids, err := p.proto.Prompt("one two")
	require.NoError(t, err)
	require.Equal(t, "[user] one two[assistant] ", p.tok.Decode(ids))
	require.Contains(t, ids, p.ends[0])
	_, err = load("a\n{% for %}")
	require.ErrorContains(t, err, "does not parse")
	require.ErrorContains(t, err, dir)
}
