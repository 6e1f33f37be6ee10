package model

import (
	"fmt"
	"math"
	"time"

	"retool/kernels"
)

// Feed is the part of one sequence that a Step computes: a prompt or a slice of one, the last sampled token, a tool's output, or
// everything again after an eviction. IDs stand at positions Pos, Pos+1, …; the keys and values of [0, Pos) are in Pages already.
type Feed struct {
	IDs   []int32
	Pos   int
	Pages []int32 // page i holds tokens [64i, 64i+64); at least as many as Pos+len(IDs) tokens need
	Key   int64   // of the trajectory: with the position, it keys the draw
	Draw  bool    // draw the next token; false while more of a long prompt or tool output follows
}

// pagedPass is the part of a Step that forward reads.
type pagedPass struct {
	on    bool
	slots kernels.Tensor // (T): page·P + offset of every token
	table kernels.PageTable
}

// stepState is what Step reuses: in a steady state it allocates nothing.
type stepState struct {
	sampling kernels.Sampling
	t, drawn int  // rows and draws of the batch, padding included
	asked    int  // draws that somebody waits for: the first ones
	width    int  // pages of a row of the table
	padded   bool // to a shape that other steps have too
	run, ops func()
	graph    string // what the device knows the operations by; "": it runs them one by one
	graphs   map[stepShape]string
	keys     kernels.Tensor // (R,3): trajectory low, trajectory high, position
	results  kernels.Tensor // (2·MaxTokens) i32: what is drawn, then the bits of its log-probabilities, so that one copy brings both
	sets     keptSets
	plan     stepPlan
	apart    apartSteps

	next  []int32   // per feed
	logp  []float32 // per feed
	host  []int32   // results, on the host
	boxes []any     // boxes[n] is host[:n] as Download takes it
}

// stepShape is all that the launches of a decode step depend on; what else changes from step to step stands in tables that they read.
type stepShape struct {
	model       int64
	rows, pages int
	sampling    kernels.Sampling
	kept        int // rows of the memory of sets; 0: they are not kept
	items       int // of work; 0: attention has no plan
	tile        int // rows of its tiles
	parts       bool
}

func (s *stepState) init(m *Model) {
	s.run, s.ops, s.graphs = m.stepRun, m.stepOps, map[stepShape]string{}
	s.plan.planner, _ = m.dev.(planner)
	s.apart.init(m)
	if m.Config.LMHead {
		s.results = m.dev.Alloc(kernels.I32, 2*m.Options.MaxTokens)
	}
}

func (s *stepState) close(dev kernels.Device) {
	s.apart.close()
	if !s.results.Absent() {
		dev.Free(s.results)
	}
	s.sets.close(dev)
}

// grow makes room for n feeds.
func (s *stepState) grow(n int) {
	if n > cap(s.next) {
		n += n / 2
		s.next, s.logp = make([]int32, n), make([]float32, n)
	}
}

// download copies what was drawn to the host: ids, and as many bits of log-probabilities from s.drawn on.
func (s *stepState) download(dev kernels.Device) {
	n := s.drawn + s.asked
	if n > len(s.host) {
		s.host, s.boxes = make([]int32, 2*n), make([]any, 2*n+1)
	}
	if s.boxes[n] == nil { // making an interface value allocates
		s.boxes[n] = s.host[:n]
	}
	dev.Download(s.boxes[n], s.results.Rows(0, n))
}

// few rows are padded to powers of two, more to multiples of this: the rows of a tile, which a product computes in any case.
const paddedRows = 64

// padRows is how many rows a decode step of n sequences is padded to, at most most.
func padRows(n, most int) int {
	to := (n + paddedRows - 1) / paddedRows * paddedRows
	if n < paddedRows {
		for to = 1; to < n; to *= 2 {
		}
	}
	return max(n, min(to, most))
}

// padPages is how wide a decode step's table of pages is where the longest sequence has n.
func padPages(n int) int {
	to := 1
	for to < n {
		to *= 2
	}
	return to
}

// CopyPages copies page src[i] to dst[i] in every layer: copy on write for sequences that share a beginning.
func (m *Model) CopyPages(dst, src []int32) error {
	if len(dst) != len(src) {
		return fmt.Errorf("model: CopyPages: %d pages from %d", len(dst), len(src))
	}
	for i := range dst {
		if uint(dst[i]) >= uint(m.pages) || uint(src[i]) >= uint(m.pages) {
			return fmt.Errorf("model: CopyPages: page %d to %d, the cache has %d", src[i], dst[i], m.pages)
		}
	}
	if len(dst) == 0 {
		return nil
	}
	if len(m.kv) == 0 {
		return fmt.Errorf("model: CopyPages: %w", errLent)
	}
	n := len(dst)
	m.in.begin(2*n, 2)
	to, toAt := m.in.take(n)
	copy(to, dst)
	from, fromAt := m.in.take(n)
	copy(from, src)
	d, s := m.in.view(toAt, n), m.in.view(fromAt, n)
	return m.run("CopyPages", func() {
		m.in.upload()
		for l := range m.kv {
			m.dev.CopyPages(m.kv[l], d, s)
		}
	})
}

// Step computes every feed's tokens, stores their keys and values in its pages, and draws the next token of those that ask.
//
// next and logp have one entry per feed, meaningless where Draw is false; the next Step overwrites them. The draw is keyed by
// (s.Seed, Feed.Key, position of the drawn token). logp is the log-probability under the whole distribution at s.Temperature,
// whatever s drops; at temperature 0, under that at temperature 1. It has the bits that a Scorer gives for
// the same tokens in Train and Score, however the tokens were sliced, batched and paged.
func (m *Model) Step(batch []Feed, s kernels.Sampling) (next []int32, logp []float32, err error) {
	m.step.sets.on = false
	return m.stepOf(batch, s)
}

// StepKept is Step for a policy whose distribution is over what s keeps: it draws the same tokens; logp is that of softmax over the kept
// set, and kept lists each feed's, ascending, with the token that was drawn among them; empty where Draw is false. A Scorer that is loaded
// with the sets gives these log-probabilities. s.Temperature is above 0.
func (m *Model) StepKept(batch []Feed, s kernels.Sampling) (next []int32, logp []float32, kept [][]int32, err error) {
	m.step.sets.on = true
	if next, logp, err = m.stepOf(batch, s); err != nil {
		return nil, nil, nil, err
	}
	return next, logp, m.step.sets.of(batch), nil
}

func (m *Model) stepOf(batch []Feed, s kernels.Sampling) (next []int32, logp []float32, err error) {
	st := &m.step
	st.grow(len(batch))
	next, logp = st.next[:len(batch)], st.logp[:len(batch)]
	if len(batch) == 0 {
		return next, logp, nil
	}
	t, drawn, width, err := m.checkFeeds(batch)
	if err != nil {
		return nil, nil, fmt.Errorf("model: Step: %w", err)
	}
	began, apart := time.Now(), st.apart.wants(batch, t, st.sets.on)
	if apart {
		err = m.stepApart(batch, t, s)
	} else {
		m.prepareStep(batch, t, drawn, width)
		err = m.stepWhole(batch, s)
	}
	if err != nil {
		return nil, nil, err
	}
	st.apart.took(apart, t, time.Since(began))
	return next, logp, nil
}

// stepWhole is a step that was prepared, by operations on all of it.
func (m *Model) stepWhole(batch []Feed, s kernels.Sampling) error {
	st := &m.step
	st.sets.room(m.dev, st.drawn, m.Config.Vocab)
	st.sampling = s
	st.graph = ""
	if st.padded {
		shape := stepShape{m.id, st.t, st.width, s, st.sets.rows(), st.plan.items, st.plan.plan.Rows, st.plan.plan.Parts}
		if st.graph = st.graphs[shape]; st.graph == "" {
			st.graph = fmt.Sprintf("step %+v", shape)
			st.graphs[shape] = st.graph
		}
	}
	if err := m.run("Step", st.run); err != nil {
		return err
	}
	r := 0
	for i := range batch {
		st.next[i], st.logp[i] = 0, 0
		if batch[i].Draw {
			st.next[i], st.logp[i] = st.host[r], math.Float32frombits(uint32(st.host[st.drawn+r]))
			r++
		}
	}
	return nil
}

// stepRun is what Step does inside Do: tables to the device, operations, results back.
func (m *Model) stepRun() {
	st := &m.step
	m.in.upload()
	if st.graph != "" {
		m.dev.Repeat(st.graph, st.ops)
	} else {
		st.ops()
	}
	if st.asked > 0 {
		st.download(m.dev)
		st.sets.download(m.dev, st.asked)
	}
}

// stepOps are Step's operations.
func (m *Model) stepOps() {
	st, b, dev := &m.step, &m.b, m.dev
	m.cut(st.t)
	x := m.body(st.t, false)
	temperature := st.sampling.Scored()
	drawn, logps := st.results.Rows(0, st.drawn), st.results.Rows(st.drawn, 2*st.drawn).As(kernels.F32)
	for from := 0; from < st.drawn; from += m.Options.HeadRows {
		to := min(from+m.Options.HeadRows, st.drawn)
		lse, ids, keys := b.lse.Rows(0, to-from), drawn.Rows(from, to), st.keys.Rows(from, to)
		if head := &m.W.Head; !st.sets.on && head.plain() {
			norm := m.headRows(x, from, to, false)
			dev.Draw(ids, logps.Rows(from, to), b.logits.Rows(0, to-from), lse, norm, head.Weight, keys, st.sampling)
			continue
		}
		h := m.head(x, from, to, false)
		dev.LogSumExp(lse, h.Logits, temperature)
		how := st.sampling
		if st.sets.on {
			dev.Restrict(h.Logits, st.sets.words.Rows(from, to), lse, how)
			dev.LogSumExp(lse, h.Logits, temperature)
			how = how.Whole()
		}
		dev.Sample(ids, h.Logits, lse, keys, how)
		dev.LogProb(logps.Rows(from, to), kernels.Tensor{}, h.Logits, lse, ids, temperature)
	}
}

// prepareStep lays out the integers of feeds that were checked.
func (m *Model) prepareStep(batch []Feed, t, drawn, width int) {
	// A decode step has a row for every sequence. Where operations can be replayed, it is padded to one of few shapes: rows behind the last
	// sequence, whose keys nobody stores, and sequences without rows.
	s, asked := len(batch), drawn
	m.step.padded = m.replays && t == s && drawn == s
	if m.step.padded {
		t, width = padRows(t, m.Options.MaxTokens), padPages(width)
		s, drawn = t, t
	}
	in, plan := &m.in, &m.step.plan
	planned := plan.of(batch, m.step.padded, m.Config.heads())
	in.begin(3*t+2*s+1+s*width+4*drawn+planned, 9)
	ids, idsAt := in.take(t)
	pos, posAt := in.take(t)
	slots, slotsAt := in.take(t)
	starts, startsAt := in.take(s + 1)
	lens, lensAt := in.take(s)
	pages, pagesAt := in.take(s * width)
	rows, rowsAt := in.take(drawn)
	keys, keysAt := in.take(3 * drawn)
	work, workAt := in.take(planned)
	plan.put(work)
	at, r := 0, 0
	for i := range batch {
		f := &batch[i]
		starts[i] = int32(at)
		lens[i] = int32(f.Pos + len(f.IDs))
		n := copy(pages[i*width:(i+1)*width], f.Pages)
		clear(pages[i*width+n : (i+1)*width])
		copy(ids[at:], f.IDs)
		for j := range f.IDs {
			q := f.Pos + j
			pos[at+j] = int32(q)
			slots[at+j] = f.Pages[q/kernels.PageTokens]*kernels.PageTokens + int32(q%kernels.PageTokens)
		}
		at += len(f.IDs)
		if f.Draw {
			rows[r] = int32(at - 1)
			keys[3*r], keys[3*r+1], keys[3*r+2] = int32(f.Key), int32(f.Key>>32), lens[i]
			r++
		}
	}
	clear(pages[len(batch)*width:])
	for i := len(batch); i < s; i++ {
		ids[i], pos[i], slots[i], starts[i], lens[i] = 0, 0, -1, int32(at), 0
		rows[i], keys[3*i], keys[3*i+1], keys[3*i+2] = int32(i), 0, 0, 0
	}
	starts[s] = int32(at)

	m.ids, m.pos = in.view(idsAt, t), in.view(posAt, t)
	m.rows, m.step.keys = kernels.Tensor{}, kernels.Tensor{}
	if drawn > 0 {
		m.rows, m.step.keys = in.view(rowsAt, drawn), in.matrix(keysAt, drawn, 3)
	}
	m.paged = pagedPass{on: true, slots: in.view(slotsAt, t), table: kernels.PageTable{
		Pages: in.matrix(pagesAt, s, width), Starts: in.view(startsAt, s+1), Len: in.view(lensAt, s),
		Rows: plan.plan.Rows, Parts: plan.plan.Parts,
	}}
	if planned > 0 {
		m.paged.table.Work = in.matrix(workAt, plan.items, 2)
	}
	m.step.t, m.step.drawn, m.step.asked, m.step.width = t, drawn, asked, width
}

// checkFeeds holds the feeds against the model and its cache. t is their tokens, drawn how many draw, width the pages of the longest.
func (m *Model) checkFeeds(batch []Feed) (t, drawn, width int, err error) {
	bad := func(format string, args ...any) (int, int, int, error) { return 0, 0, 0, fmt.Errorf(format, args...) }
	if !m.Config.LMHead {
		return bad("the model has no language-model head to draw from")
	}
	if m.div != nil && m.div.whole == nil {
		return bad("the weights are divided among ranks: call Assemble first")
	}
	if m.pages == 0 {
		return bad("no cache: call OpenKV first")
	}
	if len(m.kv) == 0 {
		return 0, 0, 0, errLent
	}
	for i := range batch {
		f := &batch[i]
		end := f.Pos + len(f.IDs)
		need := kernels.PagesOf(end)
		switch {
		case len(f.IDs) == 0 || f.Pos < 0:
			return bad("feed %d has %d tokens at position %d", i, len(f.IDs), f.Pos)
		case end > m.Options.Positions:
			return bad("feed %d reaches %d tokens, the model has %d positions", i, end, m.Options.Positions)
		case len(f.Pages) < need:
			return bad("feed %d has %d pages, its %d tokens need %d", i, len(f.Pages), end, need)
		}
		for _, page := range f.Pages[:need] {
			if uint(page) >= uint(m.pages) {
				return bad("feed %d has page %d, the cache has %d", i, page, m.pages)
			}
		}
		if err := m.checkIDs(f.IDs); err != nil {
			return bad("feed %d: %w", i, err)
		}
		t += len(f.IDs)
		width = max(width, need)
		if f.Draw {
			drawn++
		}
	}
	if t > m.Options.MaxTokens {
		return bad("a batch of %d tokens, must be at most %d (Options.MaxTokens)", t, m.Options.MaxTokens)
	}
	return t, drawn, width, nil
}
