package hub

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
)

// Repo names a repository of a hub at a revision.
type Repo struct {
	ID       string // OWNER/NAME; old ones are a NAME alone
	Revision string // branch, tag or commit
	Dataset  bool
}

var repoName = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9_.-]*/)?[A-Za-z0-9][A-Za-z0-9_.-]*$`)

// ParseRepo reads OWNER/NAME[@REVISION]; without a revision it is main.
func ParseRepo(text string, dataset bool) (Repo, error) {
	id, revision, given := strings.Cut(text, "@")
	if !given {
		revision = "main"
	}
	r := Repo{ID: id, Revision: revision, Dataset: dataset}
	switch {
	case !repoName.MatchString(id) || strings.Contains(id, "..") || strings.Contains(id, "--") || len(id) > 200:
		return r, fmt.Errorf("hub: %q: want OWNER/NAME[@REVISION], such as Qwen/Qwen2.5-0.5B-Instruct", text)
	case !safePath(revision) || len(revision) > 200:
		return r, fmt.Errorf("hub: %q: want a branch, a tag or a commit after the @, got %q", text, revision)
	}
	return r, nil
}

func (r Repo) String() string { return r.ID + "@" + r.Revision }

// kind is the word of the API's addresses and of the cache's folders.
func (r Repo) kind() string {
	if r.Dataset {
		return "datasets"
	}
	return "models"
}

// folder is the repository's name in the cache.
func (r Repo) folder() string { return r.kind() + "--" + strings.ReplaceAll(r.ID, "/", "--") }

// api is the address of the repository's entry of a kind, tree or revision, at a revision.
func (r Repo) api(endpoint, entry, revision string) string {
	return endpoint + "/api/" + r.kind() + "/" + r.ID + "/" + entry + "/" + url.PathEscape(revision)
}

// page is the repository's address for people.
func (r Repo) page(endpoint string) string {
	if r.Dataset {
		return endpoint + "/datasets/" + r.ID
	}
	return endpoint + "/" + r.ID
}

// file is the address of a file's content at a commit.
func (r Repo) file(endpoint, commit, path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return r.page(endpoint) + "/resolve/" + url.PathEscape(commit) + "/" + strings.Join(parts, "/")
}

// safePath reports whether a name that a server gives stays inside the folder it is joined to, on every system.
func safePath(path string) bool {
	if path == "" || !filepath.IsLocal(path) || strings.ContainsAny(path, `\:`) {
		return false
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return !strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f })
}

var (
	hexCommit = regexp.MustCompile(`^[0-9a-f]{40}$`)
	hexSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)
)
