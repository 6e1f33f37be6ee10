package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

// server is a small hub: one repository, whose large files are sent by another host.
type server struct {
	hub, cdn *httptest.Server
	id       string // of the repository
	token    string // "": anyone may read
	files    map[string]string
	large    map[string]bool
	page     int // files of a page of the listing

	mu     sync.Mutex
	asked  map[string]int // requests, by method, host's role and path
	leaked []string       // tokens that reached the other host
	// content answers the n-th request for a file in the way of its content; nil: well
	content func(path string, n int, w http.ResponseWriter, r *http.Request)
	listed  func(entries []map[string]any) []map[string]any
	before  func(w http.ResponseWriter, r *http.Request) bool // answers any request of the hub; true: it has
}

func newServer(t *testing.T) *server {
	s := &server{
		id: "owner/name", page: 2, asked: map[string]int{}, large: map[string]bool{"model.safetensors": true, "data/train 1.parquet": true},
		files: map[string]string{
			"config.json": `{"a":1}`, "tokenizer.json": strings.Repeat("t", 3000), "model.safetensors": blob(1, 300_000), "pytorch_model.bin": "bin",
			"original/model.safetensors": "old", "original/config.json": "{}", "empty.json": "", "data/train 1.parquet": blob(2, 50_000),
			"merges.txt": "a b",
		},
	}
	s.hub, s.cdn = httptest.NewServer(http.HandlerFunc(s.serveHub)), httptest.NewServer(http.HandlerFunc(s.serveCDN))
	t.Cleanup(s.hub.Close)
	t.Cleanup(s.cdn.Close)
	return s
}

func blob(seed uint64, n int) string {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	r.Read(b)
	return string(b)
}

func gitBlob(text string) string {
	sum := sha1.Sum([]byte(fmt.Sprintf("blob %d\x00%s", len(text), text)))
	return hex.EncodeToString(sum[:])
}

func sum256(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func (s *server) count(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[key]++
	return s.asked[key]
}

func (s *server) serveHub(w http.ResponseWriter, r *http.Request) {
	if s.before != nil && s.before(w, r) {
		return
	}
	if s.token != "" && r.Header.Get("Authorization") != "Bearer "+s.token {
		refuse(w, 401, "GatedRepo", "Access to model is restricted.\nYou must log in.")
		return
	}
	switch path := r.URL.EscapedPath(); {
	case path == "/api/models/"+s.id+"/revision/main", path == "/api/models/"+s.id+"/revision/refs%2Fpr%2F1",
		path == "/api/models/"+s.id+"/revision/"+commit:
		json.NewEncoder(w).Encode(map[string]any{"sha": commit, "siblings": []any{}})
	case strings.HasPrefix(path, "/api/models/"+s.id+"/revision/"):
		refuse(w, 404, "RevisionNotFound", "Invalid rev id: x")
	case path == "/api/models/"+s.id+"/tree/"+commit:
		s.tree(w, r)
	case strings.HasPrefix(path, "/api/"):
		refuse(w, 401, "RepoNotFound", "Invalid username or password.")
	default:
		s.resolve(w, r)
	}
}

func refuse(w http.ResponseWriter, code int, kind, message string) {
	w.Header().Set("X-Error-Code", kind)
	w.Header().Set("X-Error-Message", strings.ReplaceAll(message, "\n", " "))
	w.WriteHeader(code)
}

func (s *server) tree(w http.ResponseWriter, r *http.Request) {
	entries := []map[string]any{{"type": "directory", "path": "original", "oid": gitBlob("tree"), "size": 0}}
	for _, path := range slices.Sorted(maps.Keys(s.files)) {
		text := s.files[path]
		e := map[string]any{"type": "file", "path": path, "oid": gitBlob(text), "size": len(text)}
		if s.large[path] {
			e["oid"] = gitBlob("pointer of " + path)
			e["lfs"] = map[string]any{"oid": sum256(text), "size": len(text), "pointerSize": 130}
		}
		entries = append(entries, e)
	}
	if s.listed != nil {
		entries = s.listed(entries)
	}
	from := 0
	fmt.Sscan(r.URL.Query().Get("cursor"), &from)
	to := min(from+s.page, len(entries))
	if to < len(entries) {
		w.Header().Set("Link", fmt.Sprintf(`<https://elsewhere.example%s?recursive=true&cursor=%d>; rel="next"`, r.URL.Path, to))
	}
	json.NewEncoder(w).Encode(entries[from:to])
}

func (s *server) resolve(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/"+s.id+"/resolve/"+commit+"/")
	text, there := s.files[path]
	switch {
	case !ok || !there:
		refuse(w, 404, "EntryNotFound", "Entry not found")
	case s.large[path]:
		http.Redirect(w, r, s.cdn.URL+"/signed/"+hex.EncodeToString([]byte(path)), http.StatusFound)
	default:
		s.send(w, r, path, text)
	}
}

func (s *server) serveCDN(w http.ResponseWriter, r *http.Request) {
	if a := r.Header.Get("Authorization"); a != "" {
		s.mu.Lock()
		s.leaked = append(s.leaked, a)
		s.mu.Unlock()
	}
	path, _ := hex.DecodeString(strings.TrimPrefix(r.URL.Path, "/signed/"))
	s.send(w, r, string(path), s.files[string(path)])
}

func (s *server) send(w http.ResponseWriter, r *http.Request, path, text string) {
	n := s.count(path)
	if s.content != nil {
		rec := &answered{ResponseWriter: w}
		s.content(path, n, rec, r)
		if rec.done {
			return
		}
	}
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
}

// answered knows whether anything was written.
type answered struct {
	http.ResponseWriter
	done bool
}

func (a *answered) WriteHeader(code int)        { a.done = true; a.ResponseWriter.WriteHeader(code) }
func (a *answered) Write(b []byte) (int, error) { a.done = true; return a.ResponseWriter.Write(b) }
func (a *answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (s *server) client(t *testing.T, opt Options) *Client {
	opt.Backoff = time.Millisecond
	c, err := New(s.hub.URL, opt)
	require.NoError(t, err)
	return c
}

func repo(t *testing.T, text string) Repo {
	r, err := ParseRepo(text, false)
	require.NoError(t, err)
	return r
}

// holds requires a folder to have these files of the server, and no others.
func (s *server) holds(t *testing.T, dir string, paths ...string) {
	t.Helper()
	var found []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			found = append(found, filepath.ToSlash(rel))
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, s.files[filepath.ToSlash(rel)], string(text), path)
		}
		return err
	}))
	slices.Sort(paths)
	require.Equal(t, paths, found)
}

var opened = []string{"config.json", "merges.txt", "model.safetensors", "tokenizer.json"} // of the server's files, by default

func TestAFetchFillsTheCacheInTheHubsLayout(t *testing.T) {
	s := newServer(t)
	root := t.TempDir()
	r := repo(t, "owner/name")
	got, err := s.client(t, Options{}).Fetch(t.Context(), Request{Repo: r, Cache: root})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(root, "models--owner--name", "snapshots", commit), got.Dir)
	require.EqualValues(t, 4, got.Files)
	require.Equal(t, got.Bytes, got.Arrived)
	s.holds(t, got.Dir, slices.Clone(opened)...)
	target, err := os.Readlink(filepath.Join(got.Dir, "model.safetensors"))
	require.NoError(t, err)
	require.Equal(t, "../../blobs/"+sum256(s.files["model.safetensors"]), target)
	target, err = os.Readlink(filepath.Join(got.Dir, "config.json"))
	require.NoError(t, err)
	require.Equal(t, "../../blobs/"+gitBlob(s.files["config.json"]), target)
	ref, err := os.ReadFile(filepath.Join(root, "models--owner--name", "refs", "main"))
	require.NoError(t, err)
	require.Equal(t, commit, string(ref))

	dir, err := Cached(root, r)
	require.NoError(t, err)
	require.Equal(t, got.Dir, dir)
	_, err = Cached(root, repo(t, "owner/other"))
	require.ErrorContains(t, err, "owner/other@main is not in the cache")

	asked := maps.Clone(s.asked)
	got, err = s.client(t, Options{}).Fetch(t.Context(), Request{Repo: r, Cache: root})
	require.NoError(t, err)
	require.Zero(t, got.Arrived, "what is there is not fetched again")
	require.Equal(t, asked, s.asked)

	got, err = s.client(t, Options{}).Fetch(t.Context(),
		Request{Repo: repo(t, "owner/name@refs/pr/1"), Cache: root, Include: []string{"original/"}})
	require.NoError(t, err)
	ref, err = os.ReadFile(filepath.Join(root, "models--owner--name", "refs", "refs", "pr", "1"))
	require.NoError(t, err)
	require.Equal(t, commit, string(ref))
	target, err = os.Readlink(filepath.Join(got.Dir, "original", "config.json"))
	require.NoError(t, err)
	require.Equal(t, "../../../blobs/"+gitBlob("{}"), target)
}

func TestAFolderGetsTheFilesAndLosesNone(t *testing.T) {
	s := newServer(t)
	dir := filepath.Join(t.TempDir(), "a", "b")
	c := s.client(t, Options{})
	q := Request{Repo: repo(t, "owner/name"), To: dir, Include: []string{"*"}}
	_, err := c.Fetch(t.Context(), q)
	require.NoError(t, err)
	s.holds(t, dir, slices.Sorted(maps.Keys(s.files))...)
	again, err := c.Fetch(t.Context(), q)
	require.NoError(t, err)
	require.Zero(t, again.Arrived)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"a":2}`), 0o644)) // of the same length
	_, err = c.Fetch(t.Context(), q)
	require.ErrorContains(t, err, "config.json is there already with other content than the hub's")
	text, _ := os.ReadFile(filepath.Join(dir, "config.json"))
	require.Equal(t, `{"a":2}`, string(text))
}

// Whatever cuts a download, it goes on where it was: no byte is sent twice.
func TestACutConnectionIsGoneOnWith(t *testing.T) {
	s := newServer(t)
	var sent int
	s.content = func(path string, n int, w http.ResponseWriter, r *http.Request) {
		if path != "model.safetensors" || n > 7 {
			return
		}
		text := s.files[path]
		from := 0
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		w.Header().Set("Content-Length", fmt.Sprint(len(text)-from))
		if from > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(text)-1, len(text)))
			w.WriteHeader(206)
		}
		k, _ := w.Write([]byte(text[from : from+30_000]))
		sent += k
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	var notes []string
	var last [2]int64
	c := s.client(t, Options{Attempts: 2, Note: func(n string) { notes = append(notes, n) },
		Progress: func(done, all int64) { last = [2]int64{done, all} }})
	got, err := c.Fetch(t.Context(), Request{Repo: repo(t, "owner/name"), Cache: t.TempDir()})
	require.NoError(t, err)
	s.holds(t, got.Dir, slices.Clone(opened)...)
	require.Len(t, notes, 7)
	require.Equal(t, 7*30_000, sent)
	require.Equal(t, [2]int64{got.Bytes, got.Bytes}, last)
}

// A fetch that failed leaves what arrived, whether the process goes on or another one does.
func TestAnotherProcessGoesOn(t *testing.T) {
	s := newServer(t)
	cut := true
	var ranges []string
	s.content = func(path string, n int, w http.ResponseWriter, r *http.Request) {
		if path != "model.safetensors" {
			return
		}
		ranges = append(ranges, r.Header.Get("Range"))
		if cut {
			w.Header().Set("Content-Length", fmt.Sprint(len(s.files[path])))
			if len(ranges) == 1 {
				w.Write([]byte(s.files[path][:100_000]))
				http.NewResponseController(w).Flush()
			}
			panic(http.ErrAbortHandler)
		}
	}
	root := t.TempDir()
	q := Request{Repo: repo(t, "owner/name"), Cache: root}
	_, err := s.client(t, Options{Attempts: 2}).Fetch(t.Context(), q)
	require.ErrorContains(t, err, "what has arrived is kept")
	_, err = os.Stat(filepath.Join(root, "models--owner--name", "refs", "main"))
	require.ErrorIs(t, err, os.ErrNotExist, "a fetch that failed moves no revision")
	cut = false
	got, err := s.client(t, Options{}).Fetch(t.Context(), q)
	require.NoError(t, err)
	s.holds(t, got.Dir, slices.Clone(opened)...)
	require.Equal(t, "bytes=100000-", ranges[len(ranges)-1])
	left, _ := filepath.Glob(filepath.Join(root, "models--owner--name", "blobs", "*.incomplete"))
	require.Empty(t, left)
}

func TestWhatIsLeftOfAnotherFileIsNotBelieved(t *testing.T) {
	s := newServer(t)
	for _, left := range []string{"wrong", s.files["model.safetensors"][:1000] + "wrong",
		strings.Repeat("x", 300_000), strings.Repeat("x", 300_001)} {
		root := t.TempDir()
		part := filepath.Join(root, "models--owner--name", "blobs", sum256(s.files["model.safetensors"])+".incomplete")
		require.NoError(t, os.MkdirAll(filepath.Dir(part), 0o755))
		require.NoError(t, os.WriteFile(part, []byte(left), 0o644))
		got, err := s.client(t, Options{}).Fetch(t.Context(), Request{Repo: repo(t, "owner/name"), Cache: root})
		require.NoError(t, err)
		s.holds(t, got.Dir, slices.Clone(opened)...)
	}
}

func TestAServerWithoutRangesIsReadFromTheStart(t *testing.T) {
	s := newServer(t)
	s.content = func(path string, n int, w http.ResponseWriter, r *http.Request) {
		if path != "model.safetensors" {
			return
		}
		text := s.files[path]
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		if n == 1 {
			w.Write([]byte(text[:200_000]))
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		w.Write([]byte(text))
	}
	got, err := s.client(t, Options{}).Fetch(t.Context(), Request{Repo: repo(t, "owner/name"), Cache: t.TempDir()})
	require.NoError(t, err)
	s.holds(t, got.Dir, slices.Clone(opened)...)
}

func TestAWrongHashIsRefused(t *testing.T) {
	for _, path := range []string{"model.safetensors", "config.json"} {
		for _, always := range []bool{false, true} {
			s := newServer(t)
			s.content = func(p string, n int, w http.ResponseWriter, r *http.Request) {
				if p == path && (always || n == 1) {
					w.Write([]byte(strings.Repeat("x", len(s.files[p]))))
				}
			}
			root := t.TempDir()
			got, err := s.client(t, Options{}).Fetch(t.Context(), Request{Repo: repo(t, "owner/name"), Cache: root})
			if !always { // a fault on the way
				require.NoError(t, err)
				s.holds(t, got.Dir, slices.Clone(opened)...)
				continue
			}
			require.ErrorContains(t, err, path+" arrived with the hash")
			blobs, _ := filepath.Glob(filepath.Join(root, "*", "blobs", "*"))
			for _, b := range blobs {
				text, _ := os.ReadFile(b)
				require.NotContains(t, string(text), "xxxxxxx")
			}
		}
	}
}

func TestTheTokenStaysWithTheHub(t *testing.T) {
	s := newServer(t)
	s.token = "hf_secret"
	got, err := s.client(t, Options{Token: "hf_secret"}).Fetch(t.Context(), Request{Repo: repo(t, "owner/name"), Cache: t.TempDir()})
	require.NoError(t, err)
	s.holds(t, got.Dir, slices.Clone(opened)...)
	require.Equal(t, 1, s.asked["model.safetensors"], "it came from the other host")
	require.Empty(t, s.leaked)
}

// A hub that is busy is waited for, as long as it asks.
func TestABusyHubIsWaitedFor(t *testing.T) {
	for _, code := range []int{429, 500, 502, 503, 408} {
		s := newServer(t)
		n := 0
		s.before = func(w http.ResponseWriter, r *http.Request) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			if n++; n%2 == 1 {
				w.Header().Set("Retry-After", "0.001")
				w.WriteHeader(code)
				return true
			}
			return false
		}
		got, err := s.client(t, Options{Parallel: 1}).Fetch(t.Context(), Request{Repo: repo(t, "owner/name"), Cache: t.TempDir()})
		require.NoError(t, err, code)
		s.holds(t, got.Dir, slices.Clone(opened)...)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for header, want := range map[[2]string]time.Duration{
		{"Retry-After", "7"}: 7 * time.Second, {"Retry-After", "Thu, 01 Jan 2026 00:00:09 GMT"}: 9 * time.Second,
		{"Retry-After", "-1"}: 0, {"Retry-After", "soon"}: 0, {"RateLimit", `"resolvers";r=0;t=55`}: 55 * time.Second, {"X", "1"}: 0,
		{"Retry-After", "Thu, 01 Jan 2025 00:00:09 GMT"}: 0,
	} {
		require.Equal(t, want, retryAfter(http.Header{http.CanonicalHeaderKey(header[0]): {header[1]}}, now), "%v", header)
	}
}

func TestASilentServerIsGivenUp(t *testing.T) {
	s := newServer(t)
	s.content = func(path string, n int, w http.ResponseWriter, r *http.Request) {
		if path == "model.safetensors" && n == 1 {
			w.Header().Set("Content-Length", "300000")
			w.Write([]byte(s.files[path][:10]))
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}
	var notes []string
	c := s.client(t, Options{Stall: 200 * time.Millisecond, Note: func(n string) { notes = append(notes, n) }})
	got, err := c.Fetch(t.Context(), Request{Repo: repo(t, "owner/name"), Cache: t.TempDir()})
	require.NoError(t, err)
	s.holds(t, got.Dir, slices.Clone(opened)...)
	require.NotEmpty(t, notes)
	require.Contains(t, strings.Join(notes, "\n"), "no byte for 200ms")
}

func TestEveryRefusalIsOneSentence(t *testing.T) {
	answer := func(code int, kind, message string) func(*server) {
		return func(s *server) {
			s.before = func(w http.ResponseWriter, r *http.Request) bool { refuse(w, code, kind, message); return true }
		}
	}
	listing := func(change map[string]any) func(*server) {
		return func(s *server) {
			s.listed = func(entries []map[string]any) []map[string]any {
				maps.Copy(entries[1], change)
				return entries
			}
		}
	}
	for name, c := range map[string]struct {
		setup   func(*server)
		repo    string
		token   string
		include []string
		want    []string
	}{
		"no such repository": {func(*server) {}, "owner/other", "", nil,
			[]string{"owner/other@main: there is no such model, or it is private", "HF_TOKEN"}},
		"no such, with token": {func(*server) {}, "owner/other", "t", nil, []string{"there is no such model, or it is private"}},
		"no such revision":    {func(*server) {}, "owner/name@v9", "", nil, []string{`there is no revision "v9"`}},
		"gated": {func(s *server) { s.token = "x" }, "owner/name", "", nil,
			[]string{"access is gated: accept its conditions at", "/owner/name", "HF_TOKEN"}},
		"bad token": {answer(401, "", "Invalid credentials"), "owner/name", "y", nil,
			[]string{"the token of HF_TOKEN is not accepted", "Invalid credentials"}},
		"forbidden":   {answer(403, "", ""), "owner/name", "", nil, []string{"access is forbidden", "403"}},
		"not found":   {answer(404, "", ""), "owner/name", "", nil, []string{"there is no such model or revision", "--dataset"}},
		"teapot":      {answer(418, "", "short and stout"), "owner/name", "", nil, []string{"418", "short and stout"}},
		"always busy": {answer(429, "", "slow down"), "owner/name", "", nil, []string{"429", "slow down", "given up after 3 attempts"}},
		"no pattern": {func(*server) {}, "owner/name", "", []string{"config.json", "*.gguf"},
			[]string{`no file matches "*.gguf"`, "config.json"}},
		"no weights": {func(s *server) { s.large, s.files = nil, map[string]string{"a.bin": "x"} }, "owner/name", "", nil,
			[]string{"no model.safetensors", "a.bin", "--include"}},
		"up": {listing(map[string]any{"path": "../config.json"}), "owner/name", "", nil,
			[]string{`"../config.json"`, "could leave the folder"}},
		"root":                {listing(map[string]any{"path": "/etc/passwd"}), "owner/name", "", nil, []string{"could leave the folder"}},
		"backslash":           {listing(map[string]any{"path": `a\..\..\b`}), "owner/name", "", nil, []string{"could leave the folder"}},
		"inner up":            {listing(map[string]any{"path": "a/../../b"}), "owner/name", "", nil, []string{"could leave the folder"}},
		"no name":             {listing(map[string]any{"path": ""}), "owner/name", "", nil, []string{"could leave the folder"}},
		"hash that is a path": {listing(map[string]any{"oid": "../../../x"}), "owner/name", "", nil, []string{"a hash that is none"}},
		"circle": {func(s *server) {
			s.before = func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, r.URL.Path+"x", http.StatusFound)
				return true
			}
		}, "owner/name", "", nil, []string{"more than 10 redirections"}},
		"listing in a circle": {func(s *server) {
			s.before = func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "/tree/") {
					w.Header().Set("Link", "<"+r.URL.String()+`>; rel="next"`)
					fmt.Fprint(w, "[]")
					return true
				}
				return false
			}
		}, "owner/name", "", nil, []string{"goes round in a circle"}},
		"not a hub": {func(s *server) {
			s.before = func(w http.ResponseWriter, r *http.Request) bool { fmt.Fprint(w, "<html>hello"); return true }
		}, "owner/name", "", nil, []string{"does not answer as a hub does"}},
		"no commit": {func(s *server) {
			s.before = func(w http.ResponseWriter, r *http.Request) bool { fmt.Fprint(w, `{"sha":"../.."}`); return true }
		}, "owner/name", "", nil, []string{"want the 40 hexadecimal digits"}},
		"too long": {func(s *server) {
			s.content = func(path string, n int, w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, s.files[path]+"more")
			}
		}, "owner/name", "", []string{"config.json"}, []string{"more than the 7 bytes"}},
		"gone": {func(s *server) {
			s.content = func(path string, n int, w http.ResponseWriter, r *http.Request) {
				refuse(w, 404, "EntryNotFound", "Entry not found")
			}
		}, "owner/name", "", nil, []string{"a file that it lists is not there"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			c.setup(s)
			root := t.TempDir()
			_, err := s.client(t, Options{Token: c.token, Attempts: 3}).Fetch(t.Context(),
				Request{Repo: repo(t, c.repo), Cache: root, Include: c.include})
			require.Error(t, err)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			require.NotContains(t, err.Error(), "\n")
			require.True(t, strings.HasPrefix(err.Error(), "hub: "), err)
			snapshots, _ := filepath.Glob(filepath.Join(root, "*", "snapshots", "*"))
			require.Empty(t, snapshots)
		})
	}
}

func TestWithoutANetworkTheSentenceSaysWhatHelps(t *testing.T) {
	s := newServer(t)
	s.hub.Close()
	_, err := s.client(t, Options{}).Fetch(t.Context(), Request{Repo: repo(t, "owner/name"), Cache: t.TempDir()})
	require.ErrorContains(t, err, "cannot be reached")
	require.ErrorContains(t, err, "HF_HUB_OFFLINE=1")
	for _, endpoint := range []string{"", "huggingface.co", "ftp://x", "http://", "http://x?y=1"} {
		_, err := New(endpoint, Options{})
		require.ErrorContains(t, err, "want an address such as https://huggingface.co", endpoint)
	}
}

func TestAnInterruptionKeepsWhatArrived(t *testing.T) {
	s := newServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.content = func(path string, n int, w http.ResponseWriter, r *http.Request) {
		if path == "model.safetensors" && n == 1 {
			w.Header().Set("Content-Length", "300000")
			w.Write([]byte(s.files[path][:1000]))
			http.NewResponseController(w).Flush()
			cancel()
			<-r.Context().Done()
		}
	}
	root := t.TempDir()
	q := Request{Repo: repo(t, "owner/name"), Cache: root}
	_, err := s.client(t, Options{}).Fetch(ctx, q)
	require.ErrorIs(t, err, context.Canceled)
	got, err := s.client(t, Options{}).Fetch(t.Context(), q)
	require.NoError(t, err)
	s.holds(t, got.Dir, slices.Clone(opened)...)
}

// Fetches of one repository that run at once do the work once.
func TestFetchesAtOnceDoNotMeet(t *testing.T) {
	s := newServer(t)
	root := t.TempDir()
	var all sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		all.Go(func() {
			_, errs[i] = s.client(t, Options{}).Fetch(context.Background(), Request{Repo: repo(t, "owner/name"), Cache: root})
		})
	}
	all.Wait()
	require.Equal(t, make([]error, 6), errs)
	for path, n := range s.asked {
		require.Equal(t, 1, n, path)
	}
}

func TestNamesOfRepositories(t *testing.T) {
	for text, want := range map[string]Repo{
		"Qwen/Qwen2.5-0.5B-Instruct": {ID: "Qwen/Qwen2.5-0.5B-Instruct", Revision: "main"}, "gpt2": {ID: "gpt2", Revision: "main"},
		"a/b@refs/pr/3": {ID: "a/b", Revision: "refs/pr/3"}, "a/b@v1.0": {ID: "a/b", Revision: "v1.0"},
	} {
		got, err := ParseRepo(text, false)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", "/", "a/", "/b", "a/b/c", "../b", "a/..", "a/b--c", "a b/c", "a/b@", "a/b@../x", "a/b@/x",
		"https://huggingface.co/a/b", "a/b@x\ny", "-a/b", `a\b`} {
		_, err := ParseRepo(text, false)
		require.Error(t, err, text)
	}
}

func TestPatternsMatchAsFnmatchDoes(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"*.json", "a.json", true}, {"*.json", "a/b.json", true}, {"*.json", "a.jsonl", false}, {"a?c", "abc", true}, {"a?c", "ac", false},
		{"[ab].x", "a.x", true}, {"[!ab].x", "a.x", false}, {"[!ab].x", "c.x", true}, {"[a-c]", "b", true}, {"[", "[", true}, {"[]]", "]", true},
		{"data/", "data/x/y", true}, {"data/", "data2/x", false}, {"a+b(c).x", "a+b(c).x", true}, {"a.b", "axb", false}, {"[^a]", "^", true},
		{"é*", "été", true},
	} {
		re, err := glob(c.pattern)
		require.NoError(t, err, c.pattern)
		require.Equal(t, c.want, re.MatchString(c.path), "%s %s", c.pattern, c.path)
	}
}
