package kernels

import (
	"strings"
	"testing"

	"retool/kernels/emu"
)

// A failure names the operation, stays, and comes back from Do.
func TestGPUFailuresNameTheOperation(t *testing.T) {
	d := emulated(t, emu.Options{Capability: 80})
	table, y, ids := d.Alloc(BF16, 4, 8), d.Alloc(BF16, 2, 8), d.Alloc(I32, 2)
	mustPanic(t, func() { d.Embed(y, table, ids) }, "Embed", "outside Do")
	d.Do(func() {
		mustPanic(t, func() { d.Attention(y, Tensor{}, y, y, y, ids, Heads{Q: 1, KV: 1, Dim: 8}) }, "heads are of 8", "[16 32 64 128]")
	})
	mustPanic(t, func() { packParams("k", []int{4}, []any{5}) }, "parameter 0 has 4 bytes, Go passes int")
	other := newCPU(1, bestSIMD())
	defer other.Close()
	d.Do(func() { mustPanic(t, func() { d.Add(y, other.Alloc(F32, 2, 8)) }, "another device") })
	pages := PageTable{Pages: d.Alloc(I32, 1, 1), Starts: d.Alloc(I32, 2), Len: d.Alloc(I32, 1)}
	d.Upload(pages.Pages, []int32{3}) // there is one page
	d.Upload(pages.Starts, []int32{0, 1})
	d.Upload(pages.Len, []int32{5})
	h := Heads{Q: 1, KV: 1, Dim: 16, Chunk: 64}
	kv, q := d.AllocKV(BF16, 1, h), d.Alloc(BF16, 1, 16)
	err := d.Do(func() { d.PagedAttention(q, q, kv, pages, h) })
	if err == nil || !contains(err.Error(), "PagedAttention") || !contains(err.Error(), "global-oob") {
		t.Fatalf("a page that does not exist: %v", err)
	}
	if again := d.Do(func() {}); again == nil {
		t.Error("the failure was forgotten")
	}
	small := emulated(t, emu.Options{Capability: 80, Memory: 1 << 20})
	small.Alloc(F32, 1<<20)
	if err := small.Do(func() {}); err == nil || !contains(err.Error(), "4.0 MiB") || !contains(err.Error(), "out of memory") {
		t.Errorf("out of memory: %v", err)
	}
}

// What the world can refuse, in one sentence each that names what was expected and what was found.
func TestGPURefusalsAreSentences(t *testing.T) {
	one := func(what string, err error, words ...string) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: no error", what)
			return
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than a line: %v", what, err)
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v: want %q in it", what, err, w)
			}
		}
	}
	_, err := NewGPU(emu.New(emu.Options{Capability: 75}))
	one("architecture", err, "sm_75", "need sm_80 or newer", "device: cpu")
	one("Hopper's kernels elsewhere", emulated(t, emu.Options{Capability: 80}).Hopper(), "sm_80", "run on sm_90 only")

	norm := func(d *GPU, rows int) error {
		x, w := d.Alloc(BF16, rows, 64), d.Alloc(BF16, 64)
		return d.Do(func() { d.RMSNorm(x, Tensor{}, x, Tensor{}, w, 1e-6) })
	}
	one("driver", norm(emulated(t, emu.Options{Capability: 80, PTX: "6.4"}), 1), "load norm.sm80", "version 7.0",
		"too old and takes up to 6.4", "install a newer one")
	if err := norm(emulated(t, emu.Options{Capability: 80, PTX: "7.0"}), 1); err != nil {
		t.Errorf("a driver of PTX 7.0 does not load the portable kernels: %v", err)
	}
	modern := emulated(t, emu.Options{Capability: 90, PTX: "8.0"})
	if err := modern.Hopper(); err != nil {
		t.Fatal(err)
	}
	if _, err := linearOnHopper(t, modern); err != nil {
		t.Errorf("a driver of PTX 8.0 does not load Hopper's kernels: %v", err)
	}

	// The budget, for tensors, pages and the working memory of an operation.
	budget := func() *GPU { return emulated(t, emu.Options{Capability: 80, Memory: 1 << 20}) }
	one("memory", norm(budget(), 1<<14), "kernels: Alloc", "out of memory: asked for 2.0 MiB, 1.0 MiB of 1.0 MiB are free")
	d := budget()
	d.AllocKV(BF16, 40, Heads{Q: 1, KV: 1, Dim: 128})
	one("pages", d.Do(func() {}), "out of memory: asked for 1.2 MiB")
	d = budget()
	h := Heads{Q: 1, KV: 1, Dim: 64}
	x, o, starts := d.Alloc(F32, 1024, 64), d.Alloc(BF16, 1024, 64), d.Alloc(I32, 2)
	d.Alloc(BF16, 3000, 64)
	one("working memory", d.Do(func() { d.Attention(o, Tensor{}, x, x, x, starts, h) }),
		"kernels: Attention: working memory: driver: out of memory", "of 1.0 MiB are free")

	// A fault names the operation, the kernel, and the line.
	d = emulated(t, emu.Options{Capability: 80})
	ids, table, rows := d.Alloc(I32, 1), d.Alloc(BF16, 4, 8), d.Alloc(BF16, 1, 8)
	src, dst := d.Alloc(I32, 1), d.Alloc(I32, 1)
	kv := d.AllocKV(BF16, 1, Heads{Q: 1, KV: 1, Dim: 16})
	d.Upload(src, []int32{9}) // there is one page
	if err := d.Do(func() { d.Embed(rows, table, ids); d.CopyPages(kv, dst, src) }); err == nil ||
		!strings.HasPrefix(err.Error(), "kernels: CopyPages: emu: paged.cu:") || !strings.Contains(err.Error(), "global-oob") {
		t.Errorf("a fault: %v", err)
	}
}
