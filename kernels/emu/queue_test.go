package emu

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"retool/kernels/driver"
)

// A staging copies any number of bytes, in order, on a device that does nothing before it must, and on one that acts at once.
func TestStagingCopiesAnySize(t *testing.T) {
	for _, queued := range []bool{true, false} {
		d := New(Options{Capability: 80, Queued: queued})
		st := driver.NewStaging(d)
		r := rand.New(rand.NewPCG(1, 2))
		for _, n := range []int{0, 1, 3, 64 << 10, 64<<10 + 1, 1 << 20, 4 << 20, 4<<20 + 1, 9<<20 + 5, 7} {
			p, err := d.Alloc(n + 2)
			if err != nil {
				t.Fatal(err)
			}
			src, got := make([]byte, n), make([]byte, n)
			for i := range src {
				src[i] = byte(r.Uint32())
			}
			want := bytes.Clone(src)
			if err := st.In(0, p+1, src); err != nil {
				t.Fatal(err)
			}
			clear(src) // the caller's again
			if err := st.Out(0, got, p+1); err != nil {
				t.Fatal(err)
			}
			edges := make([]byte, n+2)
			if err := st.Out(0, edges, p); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) || edges[0] != 0xff || edges[n+1] != 0xff {
				t.Errorf("queued %v: %d bytes did not come back as they went, or more were written", queued, n)
			}
		}
	}
}

// A queue does nothing before it must, keeps its order, and its first failure.
func TestQueueTakesEffectLate(t *testing.T) {
	b := planted(t, Options{Queued: true})
	b.d.Reset()
	out := b.bytes("out", make([]byte, 4))
	e, _ := b.d.NewEvent()
	if err := b.launch("count_0", 3, 1, 0, out); err != nil {
		t.Fatal(err)
	}
	b.d.Record(e, 0)
	if err := b.launch("count_0", 3, 1, 0, out); err != nil {
		t.Fatal(err)
	}
	if c := b.d.Counters(); c.Launches != 0 || c.CopiesIn != 1 || c.Waits != 0 {
		t.Errorf("before anything waits: %+v", c)
	}
	if err := b.d.Sync(e); err != nil {
		t.Fatal(err)
	}
	if c := b.d.Counters(); c.Launches != 1 || c.Waits != 1 {
		t.Errorf("after the event: %+v, want the launch before it alone", c)
	}
	b.d.Sync(e)
	buf := make([]byte, 4)
	b.read(buf, out)
	if c := b.d.Counters(); buf[0] != 6 || c.Launches != 2 || c.CopiesOut != 1 || c.Waits != 2 {
		t.Errorf("counted to %d, %+v", buf[0], c)
	}

	if err := b.launch("norm_1", 2, 128, 0, b.floats("y", 650), b.floats("x", 650), 5, 130); err != nil {
		t.Errorf("a fault before anything waits: %v", err)
	}
	if err := b.d.Wait(0); len(Reports(err)) == 0 {
		t.Errorf("a wait for a fault: %v", err)
	}
	if err := b.launch("count_0", 3, 1, 0, out); len(Reports(err)) == 0 {
		t.Errorf("a launch after a fault: %v, want what it was", err)
	}
}

// Memory of the host that is not page-locked is no end of a copy.
func TestCopiesWantPageLockedMemory(t *testing.T) {
	d := New(Options{Capability: 80})
	p, _ := d.Alloc(64)
	host, _ := d.Pinned(64)
	for _, c := range []struct {
		name string
		b    []byte
		fine bool
	}{{"all of it", host, true}, {"a part of it", host[8:16], true}, {"ordinary memory", make([]byte, 64), false}} {
		in, out := d.CopyIn(0, p, c.b), d.CopyOut(0, c.b, p)
		reported := len(Reports(in)) == 1 && Reports(in)[0].Kind == HostRace && len(Reports(out)) == 1
		if c.fine != (in == nil && out == nil) || c.fine == reported {
			t.Errorf("%s: %v, %v", c.name, in, out)
		}
	}
	if err := d.FreePinned(host); err != nil {
		t.Fatal(err)
	}
	if err := d.CopyIn(0, p, host); len(Reports(err)) != 1 {
		t.Errorf("freed: %v", err)
	}
}
