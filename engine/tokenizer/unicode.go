package tokenizer

import (
	"slices"
	"sync"
	"unicode"

	"golang.org/x/text/unicode/rangetable"
)

// The reference's expressions know Unicode 16.0, its Digits 17.0, its normalisation 9.0; Go's tables are of 15.0. What was assigned in
// between, found by asking the reference about every character, stands here.

// span is a range of characters of one class.
type span struct {
	first, last rune
	class       class
}

// later are the characters assigned since Unicode 15.0, ascending.
var later = []span{
	{0x897, 0x897, mark}, {0x1b4e, 0x1b4f, sign}, {0x1b7f, 0x1b7f, sign}, {0x1c89, 0x1c8a, letter}, {0x2427, 0x2429, sign},
	{0x2ffc, 0x2fff, sign}, {0x31e4, 0x31e5, sign}, {0x31ef, 0x31ef, sign}, {0xa7cb, 0xa7cd, letter}, {0xa7da, 0xa7dc, letter},
	{0x105c0, 0x105f3, letter}, {0x10d40, 0x10d49, number}, {0x10d4a, 0x10d65, letter}, {0x10d69, 0x10d6d, mark},
	{0x10d6e, 0x10d6e, sign}, {0x10d6f, 0x10d85, letter}, {0x10d8e, 0x10d8f, sign}, {0x10ec2, 0x10ec4, letter}, {0x10efc, 0x10efc, mark},
	{0x11380, 0x11389, letter}, {0x1138b, 0x1138b, letter}, {0x1138e, 0x1138e, letter}, {0x11390, 0x113b5, letter},
	{0x113b7, 0x113b7, letter}, {0x113b8, 0x113c0, mark}, {0x113c2, 0x113c2, mark}, {0x113c5, 0x113c5, mark}, {0x113c7, 0x113ca, mark},
	{0x113cc, 0x113d0, mark}, {0x113d1, 0x113d1, letter}, {0x113d2, 0x113d2, mark}, {0x113d3, 0x113d3, letter}, {0x113d4, 0x113d5, sign},
	{0x113d7, 0x113d8, sign}, {0x113e1, 0x113e2, mark}, {0x116d0, 0x116e3, number}, {0x11bc0, 0x11be0, letter}, {0x11be1, 0x11be1, sign},
	{0x11bf0, 0x11bf9, number}, {0x11de0, 0x11de9, laterNumber}, {0x11f5a, 0x11f5a, mark}, {0x13460, 0x143fa, letter},
	{0x16100, 0x1611d, letter}, {0x1611e, 0x1612f, mark}, {0x16130, 0x16139, number}, {0x16d40, 0x16d6c, letter},
	{0x16d6d, 0x16d6f, sign}, {0x16d70, 0x16d79, number}, {0x16ff4, 0x16ff6, laterNumber}, {0x18cff, 0x18cff, letter},
	{0x1cc00, 0x1ccef, sign}, {0x1ccf0, 0x1ccf9, number}, {0x1cd00, 0x1ceb3, sign}, {0x1e5d0, 0x1e5ed, letter}, {0x1e5ee, 0x1e5ef, mark},
	{0x1e5f0, 0x1e5f0, letter}, {0x1e5f1, 0x1e5fa, number}, {0x1e5ff, 0x1e5ff, sign}, {0x1f8b2, 0x1f8bb, sign}, {0x1f8c0, 0x1f8c1, sign},
	{0x1fa89, 0x1fa89, sign}, {0x1fa8f, 0x1fa8f, sign}, {0x1fabe, 0x1fabe, sign}, {0x1fac6, 0x1fac6, sign}, {0x1fadc, 0x1fadc, sign},
	{0x1fadf, 0x1fadf, sign}, {0x1fae9, 0x1fae9, sign}, {0x1fbcb, 0x1fbef, sign}, {0x2ebf0, 0x2ee5d, letter},
}

// laterClass is the class of a character that Go's tables do not know.
func laterClass(r rune) class {
	i, _ := slices.BinarySearchFunc(later, r, func(s span, r rune) int { return int(s.last) - int(r) })
	if i < len(later) && later[i].first <= r {
		return later[i].class
	}
	return rest
}

// unicode9 are the characters that the reference's normalisation knows. Any other neither composes nor moves.
var unicode9 = sync.OnceValue(func() *unicode.RangeTable { return rangetable.Assigned("9.0.0") })
