package kernels

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Pages that are filled in pieces, copied while a panel is being filled or just was, begun anew, and whose last tokens are written again,
// as happens where sequences share a beginning, are read as if each had been written at once.
func TestPagesAreWhatWasAppended(t *testing.T) {
	const pages, tokens = 4, 256
	h := Heads{Q: 4, KV: 2, Dim: 24}
	onCPUs(t, func(t *testing.T, d storing) {
		QD, KD := h.Q*h.Dim, h.KV*h.Dim
		q, k, v := random(d, 1, PageTokens, QD), random(d, 2, tokens, KD), random(d, 3, tokens, KD)
		want, got := blank(d, PageTokens, QD), blank(d, PageTokens, QD)
		rapid.Check(t, func(rt *rapid.T) {
			kv := d.AllocKV(d.dtype, pages, h)
			defer d.FreeKV(kv)
			var held [pages][]int32 // which of the numbers a page's tokens have
			next := int32(0)
			check := func(page int) {
				n := len(held[page])
				if n == 0 {
					return
				}
				keys, vals := d.Alloc(d.dtype, n, KD), d.Alloc(d.dtype, n, KD)
				defer d.Free(keys)
				defer d.Free(vals)
				for i, at := range held[page] {
					d.Copy(keys.Rows(i, i+1), k.Rows(int(at), int(at)+1))
					d.Copy(vals.Rows(i, i+1), v.Rows(int(at), int(at)+1))
				}
				rows := rapid.IntRange(1, n).Draw(rt, "rows")
				table := PageTable{Pages: integers(d, int32(page)).Reshape(1, 1), Starts: integers(d, 0, int32(rows)), Len: integers(d, int32(n))}
				run(rt, d, func() {
					d.Attention(want.Rows(0, n), Tensor{}, q.Rows(0, n), keys, vals, integers(d, 0, int32(n)), h)
					d.PagedAttention(got.Rows(0, rows), q.Rows(n-rows, n), kv, table, h)
				})
				same(rt, fmt.Sprintf("page %d of %d tokens", page, n), content(got.Rows(0, rows)), content(want.Rows(n-rows, n)))
			}
			for range rapid.IntRange(1, 12).Draw(rt, "steps") {
				if rapid.IntRange(0, 3).Draw(rt, "copy") == 0 {
					from, to := rapid.IntRange(0, pages-1).Draw(rt, "from"), rapid.IntRange(0, pages-1).Draw(rt, "to")
					run(rt, d, func() { d.CopyPages(kv, integers(d, int32(to)), integers(d, int32(from))) })
					held[to] = slices.Clone(held[from])
					check(to)
					continue
				}
				var numbers, slots []int32
				var written []int
				for range rapid.IntRange(1, 3).Draw(rt, "pieces") {
					page := rapid.IntRange(0, pages-1).Draw(rt, "page")
					x := &held[page]
					switch rapid.IntRange(0, 5).Draw(rt, "how") {
					case 0:
						*x = nil // another sequence's now
					case 1: // its last token comes again, if others of its panel came before it
						if n := len(*x); n%tileCols != 1 {
							*x = (*x)[:max(n-1, 0)]
						}
					}
					for range min(rapid.IntRange(1, 40).Draw(rt, "tokens"), PageTokens-len(*x)) {
						numbers, slots = append(numbers, next%tokens), append(slots, int32(page*PageTokens+len(*x)))
						*x = append(*x, next%tokens)
						next++
					}
					written = append(written, page)
				}
				if len(slots) == 0 {
					continue
				}
				keys, vals := d.Alloc(d.dtype, len(slots), KD), d.Alloc(d.dtype, len(slots), KD)
				for i, at := range numbers {
					d.Copy(keys.Rows(i, i+1), k.Rows(int(at), int(at)+1))
					d.Copy(vals.Rows(i, i+1), v.Rows(int(at), int(at)+1))
				}
				run(rt, d, func() { d.AppendKV(kv, keys, vals, integers(d, slots...)) })
				d.Free(keys)
				d.Free(vals)
				for _, page := range written {
					check(page)
				}
			}
		})
	})
}
