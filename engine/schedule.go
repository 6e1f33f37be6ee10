package engine

import (
	"fmt"

	"retool/engine/model"
	"retool/kernels"
)

// schedule fills batch and feeds with the next step: every sequence that is ready, oldest first, as far as step_tokens, the pages and
// the wave reach. A sequence takes pages from younger ones only, youngest first, so the oldest always advances and nothing can
// deadlock.
func (r *Stream) schedule() error {
	r.batch, r.feeds = r.batch[:0], r.feeds[:0]
	left, most := r.cfg.StepTokens, r.wave.of(r.live)
	for i, q := range r.live {
		if left == 0 || len(r.batch) == most {
			break
		}
		if q.state != ready {
			continue
		}
		n := min(len(q.ids)-q.cached, left)
		ok, err := r.reserve(i, q.cached+n)
		if err != nil {
			return err
		}
		if !ok {
			if i == 0 {
				return fmt.Errorf("engine: one sequence needs more than the %d KV pages of %d tokens: "+
					"raise engine.pages or lower engine.max_tokens", r.Pages()-1, kernels.PageTokens)
			}
			continue
		}
		left -= n
		r.batch = append(r.batch, q)
		r.feeds = append(r.feeds, model.Feed{
			IDs: q.ids[q.cached : q.cached+n], Pos: q.cached, Pages: q.pages, Key: q.tr.Key, Draw: q.cached+n == len(q.ids),
		})
	}
	return nil
}

// reserve makes live[i] the only owner of the pages it is about to write, those of tokens [cached, n): shared ones are copied
// first, missing ones taken, from younger sequences if none is free. It reports false if that was not enough.
func (r *Stream) reserve(i, n int) (bool, error) {
	q := r.live[i]
	for p := q.cached / kernels.PageTokens; p < kernels.PagesOf(n); p++ {
		if p < len(q.pages) && r.pages.refs[q.pages[p]] == 1 {
			continue
		}
		page, ok := r.take(i)
		if !ok {
			if p < len(q.pages) && r.pages.refs[q.pages[p]] == 1 {
				continue // those who shared it were evicted
			}
			return false, nil
		}
		if p == len(q.pages) {
			q.pages = append(q.pages, page)
			continue
		}
		old := q.pages[p]
		if err := r.model.CopyPages([]int32{page}, []int32{old}); err != nil {
			return false, fmt.Errorf("engine: copy of KV page %d: %w", old, err)
		}
		r.stats.Copies++
		r.pages.release([]int32{old})
		q.pages[p] = page
	}
	return true, nil
}

// take gives live[i] a page, evicting sequences younger than it until one is free.
func (r *Stream) take(i int) (int32, bool) {
	for {
		if page, ok := r.pages.take(); ok {
			return page, true
		}
		victim := len(r.live) - 1
		for victim > i && len(r.live[victim].pages) == 0 {
			victim--
		}
		if victim <= i {
			return 0, false
		}
		q := r.live[victim]
		r.drop(q)
		q.tr.Evicted++
		r.stats.Evictions++
	}
}

// drop gives a sequence's pages back. That only costs work: its tokens will be fed again, and yield the same bits.
func (r *Stream) drop(q *sequence) {
	r.pages.release(q.pages)
	q.pages, q.cached, q.stale = q.pages[:0], 0, false
}
