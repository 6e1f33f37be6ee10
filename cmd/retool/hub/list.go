package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// File is one file of a commit.
type File struct {
	Path   string // within the repository, parts joined by /
	Size   int64  // bytes; -1: the hub does not say
	SHA256 string // of a large file's content, in hex; else ""
	Blob   string // of any other file: SHA-1 of its git blob, in hex; "" where the hub does not say
}

// name is what the file is called among the cache's blobs; "": it has no hash to be called by.
func (f File) name() string {
	if f.SHA256 != "" {
		return f.SHA256
	}
	return f.Blob
}

// answerLimit bounds an answer of the API: a page of a listing has a thousand files.
const answerLimit = 64 << 20

// ask reads a JSON answer of the API into v and returns the answer's headers.
func (c *Client) ask(ctx context.Context, r Repo, address string, v any) (header http.Header, err error) {
	err = c.attempts(ctx, r.String(), func() (bool, error) {
		return false, noNetwork(c.get(ctx, address, http.Header{"Accept": {"application/json"}}, func(res *http.Response, body io.Reader) error {
			text, err := io.ReadAll(io.LimitReader(body, answerLimit+1))
			if err != nil {
				return err
			}
			if len(text) > answerLimit {
				return fmt.Errorf("hub: %v: %s answers with more than %d MB", r, address, answerLimit>>20)
			}
			header = res.Header
			if err := json.Unmarshal(text, v); err != nil {
				return fmt.Errorf("hub: %v: %s does not answer as a hub does: %w; HF_ENDPOINT names the hub", r, address, err)
			}
			return nil
		}))
	})
	return header, c.explain(r, err)
}

// noNetwork makes a connection that cannot be had final: a machine without a network need not wait for the answer.
func noNetwork(err error) error {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return fmt.Errorf("%w: check the network and HF_ENDPOINT; HF_HUB_OFFLINE=1 takes what an earlier fetch left in the cache",
			errors.Unwrap(err))
	}
	return err
}

// lfs is what the hub says of a file kept apart from git.
type lfs struct {
	OID    string `json:"oid"`    // in a tree
	SHA256 string `json:"sha256"` // in a revision
	Size   *int64 `json:"size"`
}

// revision is the hub's answer on a repository at a revision.
type revision struct {
	SHA      string `json:"sha"`
	Siblings []struct {
		Path string `json:"rfilename"`
		Size *int64 `json:"size"`
		Blob string `json:"blobId"`
		LFS  *lfs   `json:"lfs"`
	} `json:"siblings"`
}

// list resolves the revision to a commit and lists the commit's files, in the order of their names.
func (c *Client) list(ctx context.Context, r Repo) (commit string, files []File, err error) {
	var rev revision
	if _, err := c.ask(ctx, r, r.api(c.endpoint, "revision", r.Revision)+"?blobs=true", &rev); err != nil {
		return "", nil, err
	}
	if !hexCommit.MatchString(rev.SHA) {
		return "", nil, fmt.Errorf("hub: %v: want the 40 hexadecimal digits of a commit, the hub answers %.60q", r, rev.SHA)
	}
	files, err = c.tree(ctx, r, rev.SHA)
	var s *status
	if errors.As(err, &s) && s.code == http.StatusNotFound && s.kind == "" { // mirrors that have no trees
		files, err = nil, nil
		for _, f := range rev.Siblings {
			files = append(files, file(f.Path, f.Blob, f.Size, f.LFS))
		}
	}
	if err != nil {
		return "", nil, err
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	for i, f := range files {
		switch {
		case !safePath(f.Path):
			return "", nil, fmt.Errorf("hub: %v: the hub lists a file %q, a name that could leave the folder: refused", r, f.Path)
		case i > 0 && files[i-1].Path == f.Path:
			return "", nil, fmt.Errorf("hub: %v: the hub lists %s twice", r, f.Path)
		case f.SHA256 != "" && !hexSHA256.MatchString(f.SHA256), f.Blob != "" && !hexCommit.MatchString(f.Blob):
			return "", nil, fmt.Errorf("hub: %v: %s: the hub lists a hash that is none: %.80q", r, f.Path, f.name())
		}
	}
	return rev.SHA, files, nil
}

// tree lists a commit page by page.
func (c *Client) tree(ctx context.Context, r Repo, commit string) ([]File, error) {
	var files []File
	base := r.api(c.endpoint, "tree", commit)
	seen := map[string]bool{}
	for query := "recursive=true"; query != ""; {
		if seen[query] {
			return nil, fmt.Errorf("hub: %v: the hub's listing goes round in a circle", r)
		}
		seen[query] = true
		var page []struct {
			Type string `json:"type"`
			Path string `json:"path"`
			OID  string `json:"oid"`
			Size *int64 `json:"size"`
			LFS  *lfs   `json:"lfs"`
		}
		header, err := c.ask(ctx, r, base+"?"+query, &page)
		if err != nil {
			return nil, err
		}
		for _, f := range page {
			if f.Type == "file" {
				files = append(files, file(f.Path, f.OID, f.Size, f.LFS))
			}
		}
		query = next(header)
	}
	return files, nil
}

func file(path, blob string, size *int64, large *lfs) File {
	f := File{Path: path, Size: -1, Blob: strings.ToLower(blob)}
	if large != nil {
		f.Blob, f.SHA256 = "", strings.ToLower(strings.TrimPrefix(cmp.Or(large.OID, large.SHA256), "sha256:"))
		if large.Size != nil {
			size = large.Size
		}
	}
	if size != nil && *size >= 0 {
		f.Size = *size
	}
	return f
}

// next is the query of the page that a Link header calls the next one. Mirrors hand on the address of the hub they mirror, so nothing
// else of it is used.
func next(h http.Header) string {
	for _, line := range h.Values("Link") {
		for link := range strings.SplitSeq(line, ",") {
			address, rest, ok := strings.Cut(strings.TrimSpace(link), ">")
			if ok && strings.HasPrefix(address, "<") && strings.Contains(strings.ReplaceAll(rest, "'", `"`), `rel="next"`) {
				if u, err := url.Parse(address[1:]); err == nil {
					return u.RawQuery
				}
			}
		}
	}
	return ""
}
