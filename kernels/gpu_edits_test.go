package kernels

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"retool/kernels/driver"
	"retool/kernels/emu"
	"retool/kernels/ptx"
)

// The kernels that ship, with one thing wrong: the checker of the emulator sees it.

// edited is an emulated GPU on which one family is loaded from other text.
func edited(t testing.TB, fam string, text string) *GPU {
	g := emulated(t, emu.Options{Capability: 80})
	if strings.HasSuffix(fam, ".sm90a") {
		g = hopper(t, emu.Options{})
	}
	if err := g.Raw(func(drv driver.Driver) error {
		m, err := drv.Load([]byte(text))
		g.mods[fam] = m
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return g
}

// entryText cuts an entry out of a file: what stands before it, its text, what follows.
func entryText(t testing.TB, text, entry string) (before, body, after string) {
	from := strings.Index(text, ".entry "+entry+"(")
	if from < 0 {
		t.Fatalf("no entry %s", entry)
	}
	to := len(text)
	if n := strings.Index(text[from+1:], ".entry "); n >= 0 {
		to = from + n
	}
	return text[:from], text[from:to], text[to:]
}

// barriers are passes that together run every barrier of an entry.
var barriers = []struct {
	family, entry string
	pass          func(t testing.TB, d *GPU) error
}{
	{"norm.sm80", "rmsnorm_fwd_block", func(t testing.TB, d *GPU) error {
		x, y, w := d.Alloc(BF16, 3, 2048), d.Alloc(BF16, 3, 2048), d.Alloc(BF16, 2048)
		return d.Do(func() { d.RMSNorm(y, Tensor{}, x, Tensor{}, w, 1e-6) })
	}},
	{"norm.sm80", "rmsnorm_bwd_block", func(t testing.TB, d *GPU) error {
		x, w, r, dx := d.Alloc(BF16, 33, 2048), d.Alloc(BF16, 2048), d.Alloc(F32, 33), d.Alloc(F32, 33, 2048)
		return d.Do(func() { d.RMSNormBackward(dx, Tensor{}, x, x, w, r) })
	}},
	{"norm.sm80", "column_finish", func(t testing.TB, d *GPU) error {
		x, w, r, dw := d.Alloc(BF16, 1200, 16), d.Alloc(BF16, 16), d.Alloc(F32, 1200), d.Alloc(F32, 16)
		return d.Do(func() { d.RMSNormBackward(Tensor{}, dw, x, x, w, r) })
	}},
	{"embed.sm80", "embed_bwd", func(t testing.TB, d *GPU) error {
		ids, dy, dt := d.Alloc(I32, 200), d.Alloc(BF16, 200, 1100), d.Alloc(F32, 4, 1100)
		return d.Do(func() { d.EmbedBackward(dt, dy, ids) })
	}},
	{"linear.sm80", "linear_nt", func(t testing.TB, d *GPU) error {
		x, y := d.Alloc(BF16, 130, 256), d.Alloc(BF16, 130, 130)
		return d.Do(func() { d.Linear(y, x, x, Tensor{}) })
	}},
	{"linear.sm80", "linear_nt64", func(t testing.TB, d *GPU) error {
		x, y := d.Alloc(BF16, 70, 320), d.Alloc(BF16, 70, 70)
		return d.Do(func() { d.Linear(y, x, x, Tensor{}) })
	}},
	{"linear.sm80", "linear_nt16", func(t testing.TB, d *GPU) error {
		x, y := d.Alloc(BF16, 16, 576), d.Alloc(BF16, 16, 16) // 9 steps: the last one reads the stage that the sums overwrite
		return d.Do(func() { d.Linear(y, x, x, Tensor{}) })
	}},
	{"linear.sm80", "linear_f32", func(t testing.TB, d *GPU) error {
		x, y := d.Alloc(F32, 70, 40), d.Alloc(F32, 70, 70)
		return d.Do(func() { d.Linear(y, x, x, Tensor{}) })
	}},
	{"sample.sm80", "sample_part", func(t testing.TB, d *GPU) error { return drawOne(t, d, Sampling{Temperature: 1, TopP: 1}) }},
	{"sample.sm80", "sample_pick", func(t testing.TB, d *GPU) error {
		return drawOne(t, d, Sampling{Temperature: 1, TopP: 0.5, TopK: 3, MinP: 0.5})
	}},
	{"sample.sm80", "sample_restrict", func(t testing.TB, d *GPU) error { // equals, so that keys and then ids are searched
		logits, kept, lse := d.Alloc(F32, 1, 3000), d.Alloc(I32, 1, KeptWords(3000)), d.Alloc(F32, 1)
		return d.Do(func() {
			d.LogSumExp(lse, logits, 1)
			d.Restrict(logits, kept, lse, Sampling{Temperature: 1, TopP: 0.5, MinP: 0.5})
		})
	}},
	{"sample.sm80", "draw_pick", drawSome},
	{"linear.sm90a", "linear_draw_wgmma", drawSome},
	{"attention.sm80", "attention_fwd_bf16_d32", attendAndBack},
	{"attention.sm80", "attention_bwd_q_bf16_d32", attendAndBack},
	{"attention.sm80", "attention_bwd_kv_bf16_d32", attendAndBack},
	{"paged.sm80", "paged_fwd16_bf16_d64", func(t testing.TB, d *GPU) error {
		d.split = 0
		h := Heads{Q: 2, KV: 1, Dim: 64, Chunk: 64}
		kv, q, o := d.AllocKV(BF16, 4, h), d.Alloc(BF16, 1, 128), d.Alloc(BF16, 1, 128)
		table := PageTable{Pages: d.Alloc(I32, 1, 4), Starts: d.Alloc(I32, 2), Len: d.Alloc(I32, 1)}
		d.Upload(table.Starts, []int32{0, 1})
		d.Upload(table.Len, []int32{200})
		return d.Do(func() { d.PagedAttention(o, q, kv, table, h) })
	}},
	{"logits.sm80", "log_sum_exp", func(t testing.TB, d *GPU) error {
		x, lse := d.Alloc(F32, 2, 300), d.Alloc(F32, 2)
		return d.Do(func() { d.LogSumExp(lse, x, 1) })
	}},
	{"loss.sm80", "value_loss", func(t testing.TB, d *GPU) error {
		x, stats := d.Alloc(F32, 300), d.Alloc(F32, Stats)
		return d.Do(func() { d.ValueLoss(d.Alloc(F32, 300), stats, x, Targets{Weight: x, Return: x}, 0) })
	}},
	{"optim.sm80", "sum_squares", func(t testing.TB, d *GPU) error {
		x, out := d.Alloc(F32, 5000), d.Alloc(F32, 1)
		return d.Do(func() { d.SumSquares(out, x) })
	}},
}

// onHopper are passes through kernels of Hopper, and what they compute.
var onHopper = []struct {
	family, entry string
	pass          func(t testing.TB, d *GPU) ([]uint16, error)
}{
	{"attention.sm90a", "attention_fwd_wgmma_d64", attendOnHopper},
	{"attention.sm90a", "attention_bwd_q_wgmma_d64", func(t testing.TB, d *GPU) ([]uint16, error) { return backOnHopper(d, true) }},
	{"attention.sm90a", "attention_bwd_kv_wgmma_d64", func(t testing.TB, d *GPU) ([]uint16, error) { return backOnHopper(d, false) }},
	{"paged.sm90a", "paged_fwd64_wgmma_d64", pagedOnHopper(PagePlan{Rows: 64})},
	{"paged.sm90a", "paged_fwd128_wgmma_d64", pagedOnHopper(PagePlan{Rows: 128})},
	{"paged.sm90a", "paged_part128_wgmma_d64", pagedOnHopper(PagePlan{Rows: 128, Parts: true})},
	{"linear.sm90a", "linear_nt32_wgmma", linearOnHopper},
	{"linear.sm90a", "linear_nn_wgmma", func(t testing.TB, d *GPU) ([]uint16, error) { // 6 tiles for 4 blocks, 4 steps each
		takeTile(d, tileOf("_wgmma", alone))
		dy, w, dx := upload(d, normals(1, 264*200), 264, 200), upload(d, normals(2, 200*264), 200, 264), d.Alloc(BF16, 264, 264)
		return result(d, dx, func() { d.LinearBackward(dx, Tensor{}, Tensor{}, dy, Tensor{}, w) })
	}},
	{"linear.sm90a", "linear_tn64_wgmma", func(t testing.TB, d *GPU) ([]uint16, error) { // 6 tiles for 4 blocks, 10 steps each on 8 stages
		takeTile(d, tileOf("64_wgmma", alone))
		dy, x, dw := upload(d, normals(1, 600*136), 600, 136), upload(d, normals(2, 600*136), 600, 136), d.Alloc(BF16, 136, 136)
		return result(d, dw, func() { d.LinearBackward(Tensor{}, dw, Tensor{}, dy, x, Tensor{}) })
	}},
	{"linear.sm90a", "linear_nt_wgmma", func(t testing.TB, d *GPU) ([]uint16, error) { // 6 tiles for 4 blocks, 4 steps each
		takeTile(d, tileOf("_wgmma", alone))
		x, w, y := upload(d, normals(1, 260*200), 260, 200), upload(d, normals(2, 260*200), 260, 200), d.Alloc(BF16, 260, 260)
		return result(d, y, func() { d.Linear(y, x, w, Tensor{}) })
	}},
	{"linear.sm90a", "linear_nt64_pair_wgmma", clustersOnHopper(stacked)},
	{"linear.sm90a", "linear_nt64_pair_wgmma", clustersOnHopper(abreast)},
	{"linear.sm90a", "linear_nt64_square_wgmma", clustersOnHopper(square)},
}

// clustersOnHopper has three pairs of tiles for two clusters, or two squares for one, of which some blocks have no rows or columns of their
// own, and 9 steps on 8 stages.
func clustersOnHopper(pair pairing) func(t testing.TB, d *GPU) ([]uint16, error) {
	return func(t testing.TB, d *GPU) ([]uint16, error) {
		name := "64_pair_wgmma"
		if pair == square {
			name = "64_square_wgmma"
		}
		if d.hopper {
			takeTile(d, tileOf(name, pair))
		}
		m, n, k := 70, 264, 520
		if pair != stacked {
			m, n = 130, 136
		}
		x, w, y := upload(d, normals(1, m*k), m, k), upload(d, normals(2, n*k), n, k), d.Alloc(BF16, m, n)
		return result(d, y, func() { d.Linear(y, x, w, Tensor{}) })
	}
}

// attendOnHopper has blocks with one team and with two, chunks to merge, tiles that end within a sequence, and stages that are used again.
func attendOnHopper(t testing.TB, d *GPU) ([]uint16, error) {
	h := Heads{Q: 2, KV: 1, Dim: 64, Chunk: 64}
	const T = 330
	x, o, st := upload(d, normals(1, T*128), T, 128), d.Alloc(BF16, T, 128), d.Alloc(I32, 2)
	d.Upload(st, []int32{0, T})
	return result(d, o, func() { d.Attention(o, Tensor{}, x, x.Cols(0, 64), x.Cols(64, 128), st, h) })
}

// backOnHopper has blocks with one team and with two, and stages that are used again.
func backOnHopper(d *GPU, q bool) ([]uint16, error) {
	h := Heads{Q: 2, KV: 1, Dim: 64, Chunk: 64}
	const T = 330
	x, do, o := upload(d, normals(1, T*128), T, 128), upload(d, normals(2, T*128), T, 128), d.Alloc(BF16, T, 128)
	dq, dkv, lse, st := d.Alloc(BF16, T, 128), d.Alloc(BF16, T, 128), d.Alloc(F32, T, 2), d.Alloc(I32, 2)
	d.Upload(st, []int32{0, T})
	k, v := x.Cols(0, 64), x.Cols(64, 128)
	if err := d.Do(func() { d.Attention(o, lse, x, k, v, st, h) }); err != nil {
		return nil, err
	}
	if q {
		return result(d, dq, func() { d.AttentionBackward(dq, Tensor{}, Tensor{}, do, o, lse, x, k, v, st, h) })
	}
	return result(d, dkv, func() { d.AttentionBackward(Tensor{}, dkv.Cols(0, 64), dkv.Cols(64, 128), do, o, lse, x, k, v, st, h) })
}

// pagedOnHopper has 330 keys, so that stages are used again, and 200 rows: of tiles of 128, one has two full teams, the other one that ends
// in the middle. Chunks are of 64 keys, but of 320 where each is a block.
func pagedOnHopper(plan PagePlan) func(t testing.TB, d *GPU) ([]uint16, error) {
	return func(t testing.TB, d *GPU) ([]uint16, error) {
		h := Heads{Q: 2, KV: 1, Dim: 64, Chunk: 64}
		if plan.Parts {
			h.Chunk = 320
		}
		const n, fresh = 330, 100
		kv, q, o := d.AllocKV(BF16, 6, h), upload(d, normals(1, fresh*128), fresh, 128), d.Alloc(BF16, fresh, 128)
		k, slots := upload(d, normals(2, n*64), n, 64), make([]int32, n)
		for i := range slots {
			slots[i] = int32(i)
		}
		ints := func(x []int32, shape ...int) Tensor {
			t := d.Alloc(I32, shape...)
			d.Upload(t, x)
			return t
		}
		starts, lens := []int32{0, fresh}, []int32{n}
		work := workOf(plan, starts, lens, h)
		table := PageTable{Pages: ints([]int32{0, 1, 2, 3, 4, 5}, 1, 6), Starts: ints(starts, 2), Len: ints(lens, 1),
			Work: ints(work, len(work)/2, 2), Rows: plan.Rows, Parts: plan.Parts}
		st := ints(slots, n)
		return result(d, o, func() {
			d.AppendKV(kv, k, k, st)
			d.PagedAttention(o, q, kv, table, h)
		})
	}
}

// linearOnHopper uses every stage again, and its block with two tiles its place for sums.
func linearOnHopper(t testing.TB, d *GPU) ([]uint16, error) {
	if d.hopper {
		takeTile(d, tileOf("32_wgmma", alone))
	}
	const m, n, k = 40, 136, 840
	x, w, y := upload(d, normals(1, m*k), m, k), upload(d, normals(2, n*k), n, k), d.Alloc(BF16, m, n)
	return result(d, y, func() { d.Linear(y, x, w, Tensor{}) })
}

func result(d *GPU, y Tensor, f func()) ([]uint16, error) {
	if err := d.Do(f); err != nil {
		return nil, err
	}
	return bits16(d, y), nil
}

func attendAndBack(t testing.TB, d *GPU) error {
	h := Heads{Q: 2, KV: 1, Dim: 32, Chunk: 64}
	const T = 200
	q, k, o := d.Alloc(BF16, T, 64), d.Alloc(BF16, T, 32), d.Alloc(BF16, T, 64)
	lse, st := d.Alloc(F32, T, 2), d.Alloc(I32, 2)
	d.Upload(st, []int32{0, T})
	dq, dk, dv := d.Alloc(F32, T, 64), d.Alloc(F32, T, 32), d.Alloc(F32, T, 32)
	return d.Do(func() {
		d.Attention(o, lse, q, k, k, st, h)
		d.AttentionBackward(dq, dk, dv, o, o, lse, q, k, k, st, h)
	})
}

// drawOne draws from 3000 equal logits: with a restriction, the first draws fall outside of it.
func drawOne(t testing.TB, d *GPU, s Sampling) error {
	logits, lse, ids, keys := d.Alloc(F32, 1, 3000), d.Alloc(F32, 1), d.Alloc(I32, 1), d.Alloc(I32, 1, 3)
	return d.Do(func() {
		d.LogSumExp(lse, logits, 1)
		d.Sample(ids, logits, lse, keys, s)
	})
}

// drawSome has two tiles of rows, of which one block of four takes two.
func drawSome(t testing.TB, d *GPU) error {
	const R, V, M = 130, 520, 8
	h := headDrawOf(d, normals(1, R*M), normals(2, V*M), BF16, make([]int32, 3*R), R, V, M)
	ids, logp, y, lse := d.Alloc(I32, R), d.Alloc(F32, R), d.Alloc(F32, R, V), d.Alloc(F32, R)
	return d.Do(func() { d.Draw(ids, logp, y, lse, h.x, h.w, h.keys, Sampling{Temperature: 1, TopP: 1}) })
}

// Every barrier in the kernels that ship is needed, and its loss is seen: deleted from the PTX, one at a time, the checker reports a race,
// a read of what nobody wrote, or a touch of a copy under way, with the line of the kernel.
func TestGPUDeletedBarriersAreReported(t *testing.T) {
	all := slices.Clone(barriers)
	for _, c := range onHopper {
		b := barriers[0]
		b.family, b.entry, b.pass = c.family, c.entry, func(t testing.TB, d *GPU) error { _, err := c.pass(t, d); return err }
		all = append(all, b)
	}
	for _, c := range all {
		text, err := ptx.Text(c.family)
		if err != nil {
			t.Fatal(err)
		}
		before, body, after := entryText(t, string(text), c.entry)
		if err := c.pass(t, edited(t, c.family, string(text))); err != nil {
			t.Errorf("%s as it ships: %v", c.entry, err)
			continue
		}
		places := barrierLine.FindAllStringIndex(body, -1)
		if len(places) == 0 {
			t.Errorf("%s has no barrier", c.entry)
		}
		for i, at := range places {
			err := c.pass(t, edited(t, c.family, before+body[:at[0]]+body[at[1]:]+after))
			reports := emu.Reports(err)
			if len(reports) == 0 {
				t.Errorf("%s without its barrier %d of %d, %q: %v, want a report", c.entry, i+1, len(places), body[at[0]:at[1]], err)
			}
			for _, r := range reports {
				if !strings.Contains(r.At.String(), ".cu:") && !strings.Contains(r.At.String(), ".cuh:") { // a sum's may be that of common.cuh
					t.Errorf("%s: a report without a line: %v", c.entry, r)
				}
			}
		}
	}
}

// barrierLine is a barrier of a block, of some of its warps, or of a warp.
var barrierLine = regexp.MustCompile(`(?m)^\s*bar\.(warp\.)?sync\s[^;]*;`)

// Every step by which the kernels of Hopper wait for one another is needed: deleted, one at a time, the checker reports it, or what is used
// too early shows in the outputs.
func TestGPUDeletedWaitsOfHopperAreReported(t *testing.T) {
	waits := regexp.MustCompile(`(?m)^(mbarrier\.try_wait\S* p|` +
		`\s*(mbarrier\.(init|arrive)|barrier\.cluster|fence\.proxy|wgmma\.wait_group|cp\.async\.wait_group))[^;]*;`)
	for _, c := range onHopper {
		text, err := ptx.Text(c.family)
		if err != nil {
			t.Fatal(err)
		}
		want, err := c.pass(t, edited(t, c.family, string(text)))
		if err != nil {
			t.Fatalf("%s as it ships: %v", c.entry, err)
		}
		before, body, after := entryText(t, string(text), c.entry)
		places := waits.FindAllStringIndex(body, -1)
		if len(places) < 10 {
			t.Errorf("%s has %d such steps", c.entry, len(places))
		}
		inits := 0
		for _, at := range places {
			if strings.Contains(body[at[0]:at[1]], "mbarrier.init") {
				if inits++; inits > 2 {
					continue // of the first stage's two; the others are written by the same loop
				}
			}
			line, instead := strings.TrimSpace(body[at[0]:at[1]]), ""
			if strings.Contains(line, "try_wait") {
				instead = "setp.eq.u32 p, 0, 0;"
			}
			if got, err := c.pass(t, edited(t, c.family, before+body[:at[0]]+instead+body[at[1]:]+after)); err == nil && slices.Equal(got, want) {
				t.Errorf("%s without %q: nobody sees it", c.entry, line)
			}
		}
	}
}

// What no checker can see, the numbers show: exchanged registers in the text of an mma, and keys that are awaited too late.
func TestGPUOtherEditsAreSeen(t *testing.T) {
	const fam, entry = "attention.sm80", "attention_fwd_bf16_d32"
	text, err := ptx.Text(fam)
	if err != nil {
		t.Fatal(err)
	}
	before, body, after := entryText(t, string(text), entry)
	h := Heads{Q: 2, KV: 1, Dim: 32, Chunk: 64}
	const n = 80
	want := packedAttention(t, emulated(t, emu.Options{Capability: 80}), h, n, 3).o
	swap := func(line string, i, j int) string { // registers of an mma, counted through its operands
		var at []int
		for k := 0; k < len(line); k++ {
			if line[k] == '%' {
				at = append(at, k)
			}
		}
		word := func(k int) string {
			w := line[at[k]:]
			return w[:strings.IndexAny(w, ",}")]
		}
		a, b := word(i), word(j)
		return line[:at[i]] + b + line[at[i]+len(a):at[j]] + a + line[at[j]+len(b):]
	}
	each := func(find string, edit func(line string) string) string {
		lines := strings.Split(body, "\n")
		for i, l := range lines {
			if strings.Contains(l, find) {
				lines[i] = edit(l)
			}
		}
		return strings.Join(lines, "\n")
	}
	const mma = "mma.sync.aligned"
	for _, c := range []struct {
		name, body string
		kind       emu.Kind // "": the checker is silent, the values are wrong
	}{
		{"registers of B exchanged", each(mma, func(l string) string { return swap(l, 8, 9) }), ""},
		{"A and B exchanged", each(mma, func(l string) string { return swap(swap(l, 4, 8), 5, 9) }), ""},
		{"no wait for the copies", each("cp.async.wait_group", func(string) string { return "" }), emu.AsyncInFlight},
	} {
		d := edited(t, fam, before+c.body+after)
		if c.kind == "" {
			if got := packedAttention(t, d, h, n, 3).o; slices.Equal(got, want) {
				t.Errorf("%s: the outputs are the same", c.name)
			}
			continue
		}
		err := attendAndBack(t, d)
		if !slices.ContainsFunc(emu.Reports(err), func(r emu.Report) bool { return r.Kind == c.kind }) {
			t.Errorf("%s: %v, want %s", c.name, err, c.kind)
		}
	}
}

// Bugs of a pipeline over mbarriers, made in the PTX that ships.
func TestGPUHopperBugsAreReported(t *testing.T) {
	const fam = "linear.sm90a"
	file, err := ptx.Text(fam)
	if err != nil {
		t.Fatal(err)
	}
	before, text, after := entryText(t, string(file), "linear_nt32_wgmma")
	lines := strings.Split(text, "\n")
	edit := func(find string, nth int, to func(line string) string) string {
		out := slices.Clone(lines)
		for i, l := range out {
			if strings.Contains(l, find) && !strings.HasPrefix(l, "//") {
				if nth--; nth == 0 {
					out[i] = to(l)
				}
			}
		}
		return strings.Join(out, "\n")
	}
	gone := func(string) string { return "" }
	open := func(l string) string { // the wait that does not wait
		return "setp.eq.u32 p, 0, 0;"
	}
	for _, c := range []struct {
		name, text string
		want       emu.Kind
	}{
		{"as it ships", text, ""},
		{"the producer ignores the empty barrier", edit("mbarrier.try_wait", 1, open), emu.MBarrier},
		{"the consumer ignores the full barrier", edit("mbarrier.try_wait", 2, open), emu.AsyncInFlight},
		{"too few bytes are expected", regexp.MustCompile(`(mov\.u32\s+%r\d+), 12288;`).ReplaceAllString(text, "$1, 12272;"), emu.Deadlock},
		{"a stage is never given back", strings.ReplaceAll(text, "mbarrier.arrive.shared::cta.b64 _", "// "), emu.Deadlock},
		{"barriers are not initialised", edit("mbarrier.init", 1, gone), emu.MBarrier},
		{"no barrier after the initialisation", edit("\tbar.sync \t0;", 1, gone), emu.MBarrier},
	} {
		d := emulated(t, emu.Options{Capability: 90})
		if err := d.Hopper(); err != nil {
			t.Fatal(err)
		}
		if err := d.Raw(func(drv driver.Driver) error {
			m, err := drv.Load([]byte(before + c.text + after))
			d.mods[fam] = m
			return err
		}); err != nil {
			t.Fatal(err)
		}
		_, err := linearOnHopper(t, d)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if !slices.ContainsFunc(emu.Reports(err), func(r emu.Report) bool { return r.Kind == c.want }) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// Bugs of a pair of blocks, and of four, made in the PTX that ships.
func TestGPUClusterBugsAreReported(t *testing.T) {
	const fam = "linear.sm90a"
	file, err := ptx.Text(fam)
	if err != nil {
		t.Fatal(err)
	}
	for pair, entry := range map[pairing]string{stacked: "linear_nt64_pair_wgmma", square: "linear_nt64_square_wgmma"} {
		before, text, after := entryText(t, string(file), entry)
		masks := regexp.MustCompile(`(mov\.u16\s+%rs\d+), [35];`) // of four, to be shifted by the rank
		last := strings.LastIndex(text, "barrier.cluster.arrive")
		for _, c := range []struct {
			name, text string
			want       emu.Kind
		}{
			{"a half goes to one block alone", masks.ReplaceAllString(text, "$1, 1;"), emu.Deadlock},
			{"a half goes to a block too many", masks.ReplaceAllString(text, "$1, 31;"), emu.Cluster},
			{"a stage is given back here alone", regexp.MustCompile(`mbarrier\.arrive\.release\.cluster[^;]*;`).ReplaceAllString(text, ""),
				emu.Deadlock},
			{"no meeting before the first copy", regexp.MustCompile(`barrier\.cluster\.[^;]*;`).ReplaceAllString(text[:last], "") + text[last:],
				emu.MBarrier},
			{"no meeting at the end", text[:last] + regexp.MustCompile(`barrier\.cluster\.[^;]*;`).ReplaceAllString(text[last:], ""), emu.Cluster},
		} {
			if c.text == text {
				t.Errorf("%s, %s: the text is as it was", entry, c.name)
			}
			_, err := clustersOnHopper(pair)(t, edited(t, fam, before+c.text+after))
			if !slices.ContainsFunc(emu.Reports(err), func(r emu.Report) bool { return r.Kind == c.want }) {
				t.Errorf("%s, %s: %v, want %q", entry, c.name, err, c.want)
			}
		}
	}
}

// Clusters of blocks give the same bits in every schedule, and those of blocks alone.
func TestGPUClustersAgreeInEverySchedule(t *testing.T) {
	for _, pair := range []pairing{stacked, abreast, square} {
		want, err := clustersOnHopper(pair)(t, emulated(t, emu.Options{Capability: 80})) // portable
		if err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(3) {
			if got, err := clustersOnHopper(pair)(t, hopper(t, emu.Options{Seed: seed})); err != nil || !slices.Equal(got, want) {
				t.Errorf("pairing %d, schedule %d: %v, or other bits", pair, seed, err)
			}
		}
	}
}

// So do blocks of one team and of two over pages, with whole contexts and with chunks.
func TestGPUPagedTeamsAgreeInEverySchedule(t *testing.T) {
	for _, plan := range []PagePlan{{Rows: 64}, {Rows: 128}, {Rows: 64, Parts: true}, {Rows: 128, Parts: true}} {
		want, err := pagedOnHopper(PagePlan{Rows: 16, Parts: plan.Parts})(t, emulated(t, emu.Options{Capability: 80})) // portable
		if err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(3) {
			if got, err := pagedOnHopper(plan)(t, hopper(t, emu.Options{Seed: seed})); err != nil || !slices.Equal(got, want) {
				t.Errorf("tiles of %d, in parts: %v, schedule %d: %v, or other bits", plan.Rows, plan.Parts, seed, err)
			}
		}
	}
}
