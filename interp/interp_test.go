//go:build linux

package interp

import (
	"context"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Init()
	os.Exit(m.Run())
}

func testPool(t testing.TB, change func(*Config)) *Pool {
	t.Helper()
	cfg := Default()
	if change != nil {
		change(&cfg)
	}
	p, err := New(context.Background(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestPoolRunsPython(t *testing.T) {
	p := testPool(t, nil)
	t.Logf("%+v", p.Info())
	for _, code := range []string{"print(482*937)", "1/0", "import os;print(os.getuid(),os.getpid(),dict(os.environ))", "import sys;sys.exit(3)", "import os;os._exit(0)", "import ctypes; ctypes.string_at(0)",
		"print('x'*200000)"} {
		r, err := p.Run(context.Background(), 0, code)
		if len(r.Stdout) > 1000 {
			r.Stdout = r.Stdout[:100]
		}
		t.Logf("%v err %v: %s|%s|%s cpu %v wall %v queue %v peak %d", r, err, r.Stdout, r.Stderr, r.Traceback, r.CPU, r.Wall, r.Queue, r.PeakMemory)
	}
	for _, k := range []int{1, 8, 64} {
		begin, n := time.Now(), 100
		ch := make(chan int)
		done := make(chan bool)
		for i := 0; i < k; i++ {
			go func() {
				for range ch {
					r, err := p.Run(context.Background(), 0, "print(482*937)")
					if err != nil || string(r.Stdout) != "451634\n" {
						t.Errorf("%v %v %s", r, err, r.Stdout)
					}
				}
				done <- true
			}()
		}
		for i := 0; i < n; i++ {
			ch <- i
		}
		close(ch)
		for i := 0; i < k; i++ {
			<-done
		}
		t.Logf("%d concurrent: %.0f/s, %+v", k, float64(n)/time.Since(begin).Seconds(), p.Stats())
	}
}
