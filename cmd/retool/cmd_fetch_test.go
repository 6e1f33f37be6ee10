package main

import (
	"crypto/sha1"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The verb reads the variables of Hugging Face's tools, prints the folder and nothing else, and needs no network the second time.
func TestFetchPrintsAFolder(t *testing.T) {
	const commit = "89abcdef89abcdef89abcdef89abcdef89abcdef"
	files := map[string]string{"config.json": "{}", "model.safetensors": "weights"}
	token := ""
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token = r.Header.Get("Authorization")
		switch {
		case strings.Contains(r.URL.Path, "/revision/"):
			fmt.Fprintf(w, `{"sha":"%s"}`, commit)
		case strings.Contains(r.URL.Path, "/tree/"):
			var entries []string
			for path, text := range files {
				entries = append(entries, fmt.Sprintf(`{"type":"file","path":"%s","size":%d,"oid":"%x"}`, path, len(text),
					sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(text), text))))
			}
			fmt.Fprintf(w, "[%s]", strings.Join(entries, ","))
		default:
			fmt.Fprint(w, files[filepath.Base(r.URL.Path)])
		}
	}))
	defer hub.Close()
	home := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(home, "token"), []byte("hf_stored\n"), 0o600))
	fetch := func(offline string, args ...string) string {
		c, out, errs := command(append([]string{"fetch"}, args...)...)
		c.Env = append(c.Env, "HF_ENDPOINT="+hub.URL+"/", "HF_HOME="+home, "HF_TOKEN=", "HF_TOKEN_PATH=", "HF_HUB_CACHE=",
			"HF_HUB_OFFLINE="+offline)
		require.NoError(t, c.Run(), errs)
		return strings.TrimSuffix(out.String(), "\n")
	}
	dir := fetch("", "owner/name")
	require.Equal(t, filepath.Join(home, "hub", "models--owner--name", "snapshots", commit), dir)
	require.Equal(t, "Bearer hf_stored", token)
	text, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	require.Equal(t, "weights", string(text))
	to := filepath.Join(t.TempDir(), "here")
	require.Equal(t, to, fetch("", "owner/name", "--include", "*.json", "--to", to))
	hub.Close()
	require.Equal(t, dir, fetch("1", "owner/name"))

	require.Contains(t, refused(t, "fetch"), "fetch: want OWNER/NAME[@REVISION], got no argument")
	require.Contains(t, refused(t, "fetch", "a/b", "--parallel", "0"), "--parallel: want 1 to 64, got 0")
	require.Contains(t, refused(t, "fetch", "a b"), "want OWNER/NAME[@REVISION]")
}
