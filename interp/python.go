//go:build linux

package interp

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"
)

// python is what the configured interpreter says about itself, and the paths a jail must show for it to run.
type python struct {
	Executable string   `json:"executable"` // the real file, not a shim
	Prefix     string   `json:"prefix"`     // of a virtual environment, else as Base
	Base       string   `json:"base"`
	Version    []int    `json:"version"`
	Path       []string `json:"path"` // sys.path with site-packages
	Libs       []string `json:"libs"` // shared objects it has mapped
	Has        []string `json:"has"`  // of the libraries, those it can import

	show []string // absolute, sorted, no entry inside another
}

// DefaultPython is the interpreter `make python` builds in the user's cache folder if it is there, else python3 of PATH.
func DefaultPython() string {
	if dir, err := os.UserCacheDir(); err == nil {
		p := filepath.Join(dir, "retool", "python", "bin", "python3")
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return "python3"
}

// libraries are modules whose import multiplies the memory of a fork server, and with it the price of every fork. They are
// preloaded in fork servers of their own, and a call gets a session of those only if its text names one.
var libraries = []string{"numpy", "sympy", "scipy", "mpmath", "pandas", "networkx", "matplotlib", "sklearn", "torch"}

func isLibrary(module string) bool {
	for _, l := range libraries {
		if l == module || strings.HasPrefix(module, l+".") {
			return true
		}
	}
	return false
}

const probePython = `
import sys, json, os, importlib.util
libs = []
has = [m for m in sys.argv[1].split(",") if importlib.util.find_spec(m)]
try:
    import ctypes, socket, select, resource, array, hashlib, random, ast, traceback, json, decimal, zlib
    for line in open("/proc/self/maps"):
        f = line.split(None, 5)
        if len(f) == 6 and f[5].startswith("/"): libs.append(f[5].rstrip("\n"))
except Exception as e:
    sys.exit("the standard library is incomplete: %s" % e)
p = [x for x in sys.path if x and os.path.exists(x)]
print(json.dumps(dict(executable=sys.executable, prefix=sys.prefix, base=sys.base_prefix,
    version=list(sys.version_info[:3]), path=p, libs=sorted(set(libs)), has=has)))
`

// probeTime is how long an interpreter has to start and to say what it is.
const probeTime = 30 * time.Second

// endTogether makes what a command starts end with it, and Wait not wait for who still holds its pipes then.
func endTogether(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 500 * time.Millisecond
}

// Probe asks the configured interpreter what it is, as New does first, and starts nothing else.
func Probe(ctx context.Context, cfg Config) error {
	_, err := findPython(ctx, cfg.Python)
	return err
}

// findPython runs the configured interpreter once, outside every fence: it is the user's own, and no model code is near.
func findPython(ctx context.Context, name string) (*python, error) {
	if name == "" {
		name = DefaultPython()
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	path, err := exec.LookPath(name)
	if err != nil {
		why := errors.Unwrap(err)
		if why == exec.ErrNotFound || errors.Is(err, fs.ErrNotExist) {
			why = errors.New("not found")
		}
		return nil, fmt.Errorf("interp: python %q: %v: run `make python`, or set interp.python", name, why)
	}
	cmd := exec.CommandContext(ctx, path, "-I", "-c", probePython, strings.Join(libraries, ","))
	endTogether(cmd)
	out, stderr := &sink{capture: capture{limit: 1 << 20}, full: cmd.Cancel}, &sink{capture: capture{limit: 1 << 16}, full: cmd.Cancel}
	cmd.Stdout, cmd.Stderr = out, stderr
	switch err := cmd.Run(); {
	case out.over() || stderr.over():
		return nil, fmt.Errorf("interp: python %q: printed without end where one answer to the probe was due", path)
	case ctx.Err() == context.DeadlineExceeded:
		return nil, fmt.Errorf("interp: python %q: no answer to the probe within %v", path, probeTime)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		said := strings.TrimSpace(tail(stderr.text(), 300))
		if said != "" {
			said = fmt.Sprintf(": %q", said)
		}
		return nil, fmt.Errorf("interp: python %q does not run: %v%s", path, err, said)
	}
	p := &python{}
	if out.text() == "" {
		return nil, fmt.Errorf("interp: python %q: no answer to the probe", path)
	}
	if err := json.Unmarshal([]byte(out.text()), p); err != nil || len(p.Version) != 3 || p.Executable == "" {
		return nil, fmt.Errorf("interp: python %q: unexpected answer to the probe: %.200q", path, out.text())
	}
	if p.Version[0] != 3 || p.Version[1] < 8 {
		return nil, fmt.Errorf("interp: python %q is %s: want 3.8 or newer", path, p.version())
	}
	p.roots()
	return p, nil
}

// hidden names a directory above the interpreter or its library that users other than its owner cannot enter, "" if there is none.
func (p *python) hidden() string {
	for _, path := range []string{p.Executable, p.Prefix, p.Base} {
		for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
			if fi, err := os.Stat(dir); err == nil && fi.Mode().Perm()&0o001 == 0 {
				return dir
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return ""
}

//go:embed requirements.txt
var requirements string

// pins reads requirements.txt for one Python: library → version. A line is NAME==VERSION, then optionally `; python_version OP "X.Y"`
// with further conditions after `and`.
func pins(major, minor int) map[string]string {
	out := map[string]string{}
	for _, line := range strings.Split(requirements, "\n") {
		line, _, _ = strings.Cut(line, "#")
		spec, marker, _ := strings.Cut(line, ";")
		name, version, ok := strings.Cut(strings.TrimSpace(spec), "==")
		if !ok {
			continue
		}
		holds := true
		for _, cond := range strings.Split(marker, " and ") {
			f := strings.Fields(cond)
			if len(f) != 3 || f[0] != "python_version" {
				continue
			}
			var x, y int
			fmt.Sscanf(strings.Trim(f[2], `"`), "%d.%d", &x, &y)
			d := (major-x)*1000 + minor - y
			holds = holds && (f[1] == ">=" && d >= 0 || f[1] == "<" && d < 0 || f[1] == "==" && d == 0)
		}
		if holds {
			out[name] = version
		}
	}
	return out
}

// unpinned says which libraries of the environment `make python` built are not those requirements.txt names. Any other interpreter
// is the user's business.
func unpinned(p *python, have map[string]string) (why []string) {
	if !strings.HasPrefix(DefaultPython(), p.Prefix+"/") {
		return nil
	}
	want := pins(p.Version[0], p.Version[1])
	for _, name := range sortedKeys(want) {
		if v, ok := have[name]; ok && v != want[name] {
			why = append(why, fmt.Sprintf("%s of %s is %s, want %s", name, p.Prefix, v, want[name]))
		}
	}
	return why
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

func (p *python) version() string {
	return fmt.Sprintf("%d.%d.%d", p.Version[0], p.Version[1], p.Version[2])
}

// roots collects what the interpreter needs to see: itself, its library, the system's shared objects. A prefix such as /usr
// shows only its libraries, never its programs.
func (p *python) roots() {
	want := map[string]bool{}
	add := func(path string) {
		if path == "" || !filepath.IsAbs(path) {
			return
		}
		path = filepath.Clean(path)
		if fi, err := os.Lstat(path); err != nil || fi == nil {
			return
		}
		want[path] = true
		if real, err := filepath.EvalSymlinks(path); err == nil {
			want[real] = true
		}
	}
	home, _ := os.UserHomeDir()
	tooWide := func(dir string) bool { // a prefix that would show more than a Python
		return dir == "/" || dir == "/usr" || dir == "/home" || dir == "/root" || dir == "/tmp" || dir == "/opt" || dir == home
	}
	for e, i := p.Executable, 0; i < 16; i++ { // every link of the chain venv → python3 → python3.11
		add(e)
		next, err := os.Readlink(e)
		if err != nil {
			break
		}
		if !filepath.IsAbs(next) {
			next = filepath.Join(filepath.Dir(e), next)
		}
		e = next
	}
	for _, prefix := range []string{p.Prefix, p.Base} {
		if !tooWide(prefix) {
			add(prefix)
		}
	}
	for _, dir := range p.Path {
		if !tooWide(dir) {
			add(dir)
		}
	}
	for _, dir := range []string{"/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache",
		"/etc/localtime", "/usr/share/zoneinfo"} {
		add(dir)
	}
	covered := func(path string) bool {
		for w := range want {
			if path != w && strings.HasPrefix(path, w+"/") {
				return true
			}
		}
		return false
	}
	for _, lib := range p.Libs {
		if !covered(lib) {
			add(lib)
		}
	}
	for path := range want {
		if !covered(path) {
			p.show = append(p.show, path)
		}
	}
	sort.Strings(p.show)
}
