package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/engine"
	"retool/trainer/answer"
	"retool/trainer/data"
)

// What is rewritten is what the cold start reads: nothing in it is at odds with the protocol.
func TestRewrittenRowsAreTracesOfTheProtocol(t *testing.T) {
	key := ""
	chat := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key = r.Header.Get("Authorization")
		text := "<revised_thinking_process>\nTwelve times thirteen is wanted. " +
			"<code>\n```python\nprint(12*13)\n```\n</code>\n<interpreter>\n156\n</interpreter>\nSo that is it.\n" +
			"<answer> \\boxed{156} </answer>\n</revised_thinking_process>"
		json.NewEncoder(w).Encode(map[string]any{"choices": []any{map[string]any{"message": map[string]any{"content": text}}}})
	}))
	defer chat.Close()
	t.Setenv("OPENAI_API_KEY", "sk-test")
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.jsonl"), filepath.Join(dir, "out.jsonl")
	require.NoError(t, os.WriteFile(in,
		[]byte(`{"question":"12 × 13?","answer":156,"worked":"Twelve times thirteen is wanted. So that is it."}`+"\n"), 0o644))
	run := func(args ...string) (string, error) {
		a := app()
		var printed bytes.Buffer
		a.Writer = &printed
		err := a.Run(flagsFirst(append([]string{"retool", "data", "rewrite", in, out, "--endpoint", chat.URL + "/v1", "--model", "m",
			"--solution", "worked"}, args...), a.Commands))
		return printed.String(), err
	}
	printed, err := run()
	require.NoError(t, err)
	require.Equal(t, "Bearer sk-test", key)
	require.Regexp(t, `accepted +1`, printed)
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
	require.Len(t, traces, 1)
	require.Len(t, traces[0].Segments, 3)
	tok, err := tokenizerAt("")
	require.NoError(t, err)
	proto, err := engine.NewProtocol(engine.DefaultProtocol(), tok, nil)
	require.NoError(t, err)
	found := findings{verifier: answer.Math}
	found.trace(proto, true, traces[0])
	require.Empty(t, found.order)

	_, err = run()
	require.ErrorContains(t, err, "out.jsonl is there already")
	require.NoError(t, os.Remove(out))
	for arg, want := range map[string]string{"--kept=2": "--kept: want a share", "--parallel=0": "--parallel: want 1 to 1024, got 0",
		"--on-mismatch=x": `"x" is not known`, "--rate=-1": "want 0 or more", "--tokenizer=/nowhere": "--tokenizer"} {
		_, err = run(arg)
		require.ErrorContains(t, err, want)
	}
}
