//go:build linux

package interp

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// The attacks are files of testdata/attacks, in folders by what they are after, each named for itself. The first line is
//
//	# name {"want": …}
//
// and the rest is Python, but for @…@: @PORT@ and its like are what canaries.fill puts there, and @56/220@ is a system call's number
// on amd64 and on arm64. A line "# next cell" ends a cell; the cells of a file share a session.
//
//go:embed testdata/attacks
var attackFiles embed.FS

// A row is one attack. The header's fields are its own: want holds, per cell (separated by ";"), the accepted outcomes (separated by
// "|"): a status, exc:Type, and " alive" or " gone" after it where that is part of the claim. In tier C a row has wantC if set. has
// must be in the last cell's output, not must not be in any.
type row struct {
	id    string
	cells []string

	As          string // "native", "denied": what the file's text is, see asNative and asDenied
	Want, WantC string
	Has, HasC   string
	Not         string
	Fork        string // want with allow_fork; "": the row is not run there
}

// bad in the output of any row is a violation; the rows print it when something worked that must not.
const bad = "BAD"

var amd64 = runtime.GOARCH == "amd64"

// asNative lets the code call by number: e(nr, …) is the errno, 0 if the call worked.
const asNative = `import ctypes,os,sys,time,signal,socket,threading
l=ctypes.CDLL(None,use_errno=True)
def e(n,*a):
    ctypes.set_errno(0)
    return 0 if l.syscall(ctypes.c_long(n),*[ctypes.c_long(x) if isinstance(x,int) else x for x in a])!=-1 else ctypes.get_errno()
`

// asDenied is code in which every line of text is a call that must fail with an OSError: c(name, …) is one of the C library, s(nr, …)
// one by number.
func asDenied(text string) string {
	var b strings.Builder
	b.WriteString(`import os,ctypes,socket,signal,resource,sys,time
l=ctypes.CDLL(None,use_errno=True)
def c(n,*a):
    r=getattr(l,n)(*a)
    if r==-1: raise OSError(ctypes.get_errno(),n)
    return r
def s(n,*a): return c('syscall',ctypes.c_long(n),*a)
`)
	for call := range strings.Lines(text) {
		call = strings.TrimSuffix(call, "\n")
		fmt.Fprintf(&b, "try:\n    r=%s; print('BAD',%q,r)\nexcept (OSError,AttributeError,ValueError): pass\n", call, call)
	}
	return b.String()
}

var callNumber = regexp.MustCompile(`@(\d+)/(\d+)@`)

// parseAttack reads one file.
func parseAttack(name string, text []byte) (row, error) {
	header, code, _ := strings.Cut(string(text), "\n")
	r := row{id: strings.TrimSuffix(path.Base(name), ".py")}
	fields, ok := strings.CutPrefix(header, "# "+r.id+" ")
	if !ok {
		return r, fmt.Errorf("%s: the first line is %q: want # %s and its claims", name, header, r.id)
	}
	d := json.NewDecoder(strings.NewReader(fields))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, fmt.Errorf("%s: %w", name, err)
	}
	arch := "$2"
	if amd64 {
		arch = "$1"
	}
	code = callNumber.ReplaceAllString(strings.TrimSuffix(code, "\n"), arch)
	switch r.As {
	case "":
	case "native":
		code = asNative + code
	case "denied":
		code = asDenied(code)
	default:
		return r, fmt.Errorf("%s: as %q: want native or denied", name, r.As)
	}
	r.cells = strings.Split(code, "\n# next cell\n")
	for _, want := range []string{r.Want, r.WantC, r.Fork} {
		if n := strings.Count(want, ";") + 1; want != "" && n != len(r.cells) || r.Want == "" {
			return r, fmt.Errorf("%s: %d cells, outcomes %q", name, len(r.cells), want)
		}
	}
	return r, nil
}

// corpus is every attack: the files, and three that no file should hold.
func corpus(t *testing.T) []row {
	rows := []row{
		{id: "nul-source", cells: []string{"x=1\x00"}, Want: "exc:SyntaxError|exc:ValueError"},
		{id: "nest-source", cells: []string{strings.Repeat("(", 100000)},
			Want: "exc:SyntaxError|exc:MemoryError|exc:RecursionError|crashed:SIGSEGV"},
		{id: "deep-ast", cells: []string{"x=" + strings.Repeat("-", 60000) + "1"},
			Want: "exc:RecursionError|exc:MemoryError|exc:SyntaxError|crashed:SIGSEGV|ok"},
	}
	err := fs.WalkDir(attackFiles, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := attackFiles.ReadFile(name)
		if err != nil {
			return err
		}
		r, err := parseAttack(name, text)
		rows = append(rows, r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// A file that claims nothing, or something else than its name, must not pass for an attack.
func TestAttackFilesAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "print(1)\n", "# b {\"want\": \"ok\"}\n", "# a {}\n", "# a {\"want\": \"ok;ok\"}\nx\n", "# a {\"wants\": \"ok\"}\nx\n",
		"# a {\"want\": \"ok\"}\nx\n# next cell\ny\n", "# a {\"want\": \"ok\", \"as\": \"c\"}\nx\n",
		"# a {\"want\": \"ok\", \"fork\": \"ok;ok\"}\nx\n",
	} {
		if r, err := parseAttack("a.py", []byte(text)); err == nil {
			t.Errorf("%q is taken as %+v", text, r)
		}
	}
	r, err := parseAttack("x/a.py", []byte("# a {\"want\": \"ok;exited\"}\nf(@1/1@)\n# next cell\ny\n"))
	if err != nil || len(r.cells) != 2 || r.cells[0] != "f(1)" || r.cells[1] != "y" || r.Want != "ok;exited" {
		t.Errorf("%+v, %v", r, err)
	}
}
