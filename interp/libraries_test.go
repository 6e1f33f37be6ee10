//go:build linux

package interp

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// richPython is an interpreter with numpy and sympy: the one `make python` builds.
func richPython(t *testing.T) string {
	t.Helper()
	py := DefaultPython()
	if exec.Command(py, "-c", "import numpy, sympy, mpmath").Run() != nil {
		t.Skipf("%s has no numpy, sympy and mpmath: `make python` builds one that has, `make check` does so first", py)
	}
	return py
}

// Libraries work inside, are imported once, and do not hang in a fork though BLAS likes threads; seeds reach numpy.
func TestLibrariesInTheSandbox(t *testing.T) {
	cfg := Default()
	cfg.Python, cfg.Zygotes, cfg.Warm = richPython(t), 1, 4
	p, err := New(context.Background(), cfg, nil)
	if isTier(err) {
		t.Skipf("no pool on this host: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	info := p.Info()
	for _, m := range []string{"numpy", "sympy", "mpmath"} {
		if info.Modules[m] == "" {
			t.Errorf("no version of %s is reported: %v", m, info.Modules)
		}
	}
	if len(info.Missing) > 0 {
		t.Errorf("missing %v", info.Missing)
	}
	for code, want := range map[string]string{
		"from sympy import *\nx=symbols('x')\nprint(solve(x**2-3*x+2), " +
			"integrate(x*sin(x),x))": "[1, 2] -x*cos(x) + sin(x)\n",
		"import numpy as np\na=np.random.rand(400,400)\n" +
			"print(np.allclose(np.linalg.inv(a)@a,np.eye(400)), round(float(np.linalg.det(np.eye(3)*2)),6))": "True 8.0\n",
		"import numpy as np\nw,v=np.linalg.eigh(np.diag([3.,1.,2.]))\n" +
			"print(w.tolist(), np.linalg.svd(np.ones((50,50)))[1][0].round(6))": "[1.0, 2.0, 3.0] 50.0\n",
		"import mpmath\nmpmath.mp.dps=30\nprint(mpmath.pi)": "3.14159265358979323846264338328\n",
		"import time\nt=time.perf_counter()\nimport numpy, sympy\n" +
			"print(time.perf_counter()-t < 0.5)": "True\n",
		"import os\nn=len(os.sched_getaffinity(0))\nimport numpy as np\nimport threading\nnp.ones((300,300))@np.ones((300,300))\n" +
			"print(threading.active_count())": "1\n",
	} {
		if r := run(t, p, 0, code); string(r.Stdout) != want {
			t.Errorf("%q: %v %q %s", code, r, r.Stdout, r.Traceback)
		}
	}
	draw := func(seed uint32) string {
		r, err := p.RunSeeded(context.Background(), 0, seed, "import numpy as np, random\nprint(np.random.rand(), random.random())")
		if err != nil || r.Status != OK {
			t.Fatalf("%v %v", r, err)
		}
		return string(r.Stdout)
	}
	if a, b, c := draw(1), draw(1), draw(2); a != b || a == c {
		t.Errorf("seeds 1, 1, 2 drew %s%s%s", a, b, c)
	}
	r := run(t, p, 0, "import scipy.linalg\nprint(scipy.linalg.norm([3,4]))")
	if r.Status != OK && !strings.Contains(string(r.Traceback), "No module") {
		t.Errorf("scipy: %v %s", r, r.Traceback)
	}
}

// The pins hold for every Python that make python may meet, and an environment that drifted is named.
func TestLibrariesArePinned(t *testing.T) {
	for minor := 9; minor <= 15; minor++ {
		p := pins(3, minor)
		for _, name := range []string{"numpy", "scipy", "sympy", "mpmath"} {
			if p[name] == "" {
				t.Errorf("Python 3.%d: no version of %s", minor, name)
			}
		}
		if len(p) != 4 {
			t.Errorf("Python 3.%d: %v", minor, p)
		}
	}
	py := &python{Prefix: strings.TrimSuffix(DefaultPython(), "/bin/python3"), Version: []int{3, 11, 2}}
	if py.Prefix == DefaultPython() {
		py.Prefix = "/elsewhere"
		if why := unpinned(py, map[string]string{"numpy": "1.0"}); why != nil {
			t.Errorf("a user's own interpreter is held to our pins: %v", why)
		}
		return
	}
	if why := unpinned(py, pins(3, 11)); why != nil {
		t.Errorf("%v", why)
	}
	why := unpinned(py, map[string]string{"numpy": "1.0", "sympy": pins(3, 11)["sympy"]})
	if len(why) != 1 || !strings.Contains(why[0], "numpy") || !strings.Contains(why[0], "want "+pins(3, 11)["numpy"]) {
		t.Errorf("%v", why)
	}
}

// Equal code and seed print equal bytes in every tier this host offers.
func TestDeterminismAcrossTiers(t *testing.T) {
	codes := []string{
		"import random\nprint(random.random(), hash('x'), {1,'a',(2,3)})", "print(sorted(globals()))", "def f(x):\n  return 1/x\nf(0)",
		"raise SystemExit(7)",
		"print(10**400 % 7, 0.1+0.2)", "x=", "open('/nope')", "import socket; socket.socket()", "assert False, 'no'",
		"a=[]\na.append(a)\nprint(a)",
		"def f(): f()\nf()", "print('é\\u202e\\x1b[1m')", "import os; print(os.getcwd() in ('/','/tmp'))", "import os; os._exit(3)",
	}
	repeats := 2
	if *soakRuns > 0 {
		repeats = min(1000, *soakRuns)
	}
	first := map[string]string{}
	tiers := 0
	for _, tier := range []string{"A", "B", "C1", "C2"} {
		cfg := Default()
		cfg.Python, cfg.Preload, cfg.MinTier, cfg.Warm, cfg.Zygotes = barePython(t), nil, tier, 4, 1
		p, err := New(context.Background(), cfg.AtMost(tier), nil)
		if isTier(err) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		tiers++
		began := time.Now()
		for range repeats {
			for _, code := range codes {
				r, err := p.RunSeeded(context.Background(), 0, 5, code)
				if err != nil {
					t.Fatal(err)
				}
				got := fmt.Sprintf("%v %s\n%s%s%s", r, r.Exc, r.Stdout, r.Traceback, r.Notice(cfg.Limits))
				if want, ok := first[code]; ok && got != want {
					t.Errorf("tier %s, %q:\n%s\nelsewhere\n%s", tier, code, got, want)
				}
				first[code] = got
			}
		}
		t.Logf("tier %s: %d cells in %v", tier, repeats*len(codes), time.Since(began).Round(time.Millisecond))
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if tiers == 0 {
		t.Skip("no tier on this host")
	}
}
