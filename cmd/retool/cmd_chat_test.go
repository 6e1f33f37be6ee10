package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func chatTranscript(t *testing.T, path string) (s transcript) {
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &s))
	return s
}

// chatted runs a chat to the end of its input.
func chatted(t *testing.T, input string, args ...string) (stdout, stderr string) {
	c, out, errs := command(append([]string{"chat"}, args...)...)
	c.Stdin = strings.NewReader(input)
	require.NoError(t, c.Run(), errs)
	return out.String(), errs.String()
}

// A chat is a rollout: the first message has the answer that `retool rollout` draws to the same question, and code that the model writes is
// run while it goes on.
func TestAChatIsARollout(t *testing.T) {
	dir := t.TempDir()
	run, out := filepath.Join(dir, "run"), filepath.Join(dir, "chat.json")
	settings := tiny(run, "sft.steps=90", "eval.problems=0", "data.mix.working=1", "data.mix.failing=0", "data.mix.text=0")
	retool(t, append([]string{"sft", "demo"}, settings...)...)
	questions := []string{"What is 3 plus 4?", "What is 27 plus 41?", "What is 5 plus 99?",
		"Multiply 452 by 976, then divide by 971. What is left?"}
	shown, told := chatted(t, strings.Join(questions, "\n"), "--from", run, "--out", out)
	s := chatTranscript(t, out)
	require.Len(t, s.Conversations, len(questions), "without a chat template each message is a conversation")
	rollout := retool(t, "rollout", "--from", run, "--question", questions[0])
	require.Contains(t, rollout, strings.TrimSpace(s.Conversations[0][1].Content))
	ran := 0
	for i, c := range s.Conversations {
		require.Len(t, c, 2)
		require.Equal(t, questions[i], c[0].Content)
		require.Equal(t, len(c[1].IDs), len(c[1].Sources))
		require.Contains(t, shown, strings.TrimRight(c[1].Content, "\n"), "what is stored was streamed")
		for _, call := range c[1].Calls {
			if call.Status == "ok" {
				ran++
				require.Contains(t, c[1].Content, "<interpreter>\n"+strings.TrimSpace(call.Stdout))
				require.Contains(t, c[1].Sources, "t")
			}
		}
	}
	require.Positive(t, ran, "no code was run: %s", shown)
	require.Equal(t, len(questions), strings.Count(told, "― finish "))
	require.Contains(t, told, "call 1 ok in")
}

// Where there are turns, a conversation only grows: what the user says next is appended to the tokens there are.
func TestAConversationOnlyGrows(t *testing.T) {
	out := filepath.Join(t.TempDir(), "chat.json")
	args := []string{"--from", foreignFolder("qwen2"), "--set", "protocol.template=plain", "--set", "engine.turn_tokens=7",
		"--set", "protocol.name=none"} // no code is run: no sandbox to start
	chatted(t, "Hello\n\nAnd <|im_end|> now?\r\n/new\nAnother", append(args, "--out", out)...)
	s := chatTranscript(t, out)
	require.Len(t, s.Conversations, 2)
	require.Len(t, s.Conversations[0], 4)
	require.Len(t, s.Conversations[1], 2)
	texts, err := openTexts(foreignFolder("qwen2"), false)
	require.NoError(t, err)
	second := texts.written(s.Conversations[0][2].IDs)
	require.Equal(t, "<|im_end|>\n<|im_start|>user\nAnd < |im_end|> now?<|im_end|>\n<|im_start|>assistant\n", second,
		"the turn before was cut off")
	require.Equal(t, 1, strings.Count(texts.written(s.Conversations[1][0].IDs), "user"), "/new begins anew")

	again := filepath.Join(t.TempDir(), "chat.json")
	chatted(t, "Hello\nand more\n", append(args, "--whole", "--greedy", "--out", again)...)
	require.Equal(t, "Hello\nand more", chatTranscript(t, again).Conversations[0][0].Content)
	c, _, errs := command(append([]string{"chat"}, append(args, "--out", again)...)...)
	require.Error(t, c.Run())
	require.Contains(t, errs.String(), "chat: --out: ")
	c, _, errs = command(append([]string{"chat"}, args...)...)
	c.Stdin = strings.NewReader("\n\n")
	require.Error(t, c.Run())
	require.Equal(t, "retool: chat: standard input holds no message\n", errs.String())
	c, _, errs = command(append([]string{"chat"}, args...)...)
	c.Stdin = strings.NewReader(strings.Repeat("long ", 500))
	require.Error(t, c.Run())
	require.Contains(t, errs.String(), "the conversation is as long as engine.max_tokens allows")
}

// ^C ends a chat as the end of its input does: what was said is on disk.
func TestInterruptEndsAChat(t *testing.T) {
	out := filepath.Join(t.TempDir(), "chat.json")
	c, _, errs := command("chat", "--from", foreignFolder("qwen2"), "--set", "protocol.template=plain", "--set", "engine.turn_tokens=7",
		"--set", "protocol.name=none", "--out", out)
	in, err := c.StdinPipe()
	require.NoError(t, err)
	defer in.Close()
	require.NoError(t, c.Start())
	_, err = in.Write([]byte("Hello\n"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { _, err := os.Stat(out); return err == nil }, time.Minute, 10*time.Millisecond)
	require.NoError(t, c.Process.Signal(syscall.SIGINT))
	require.NoError(t, c.Wait(), errs)
	require.Len(t, chatTranscript(t, out).Conversations[0], 2)
}
