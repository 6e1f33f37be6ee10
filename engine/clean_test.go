package engine

import (
	"flag"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// often runs a cheap property more often than this package's rollouts allow.
func often(t *testing.T, property func(*rapid.T)) {
	t.Helper()
	checks := flag.Lookup("rapid.checks")
	if before := checks.Value.String(); before == "10" {
		checks.Value.Set("500")
		defer checks.Value.Set(before)
	}
	rapid.Check(t, property)
}

func TestCleanShowsWhatAReaderSees(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"colour":               {"\x1b[1;31mred\x1b[0m 7", "red 7"},
		"cursor and erasing":   {"\x1b[2K\x1b[1Gline\x1b[?25l", "line"},
		"title, BEL":           {"\x1b]0;window title\x07done", "done"},
		"title, ST":            {"\x1b]2;a title\x1b\\done", "done"},
		"link":                 {"\x1b]8;;http://a.b\x1b\\text\x1b]8;;\x1b\\", "text"},
		"title never ended":    {"\x1b]0;kept\nand this", "0;kept\nand this"},
		"device control":       {"\x1bPq#0;2;0\n~~@@\x1b\\picture", "picture"},
		"device, never ended":  {"\x1bPanswer 42", "answer 42"},
		"program command":      {"\x1b_Gf=100;AAAA\x1b\\shown", "shown"},
		"character set":        {"\x1b(B\x1b[mplain", "plain"},
		"two bytes":            {"\x1b7saved\x1b8\x1bc", "saved"},
		"escape at the end":    {"x\x1b", "x"},
		"CSI cut off":          {"x\x1b[31", "x"},
		"CSI, then a letter":   {"\x1b[31é", "é"},
		"one-byte CSI":         {"\u009b31mred", "red"},
		"one-byte OSC":         {"\u009d0;t\u009cdone", "done"},
		"CR LF":                {"a\r\nb", "a\nb"},
		"CR CR LF":             {"a\r\r\nb", "a\nb"},
		"progress":             {"10%\r20%\r\rdone", "10%\n20%\ndone"},
		"progress at the end":  {"50%\r", "50%\n"},
		"other line ends":      {"a\x0bb\x0cc\u0085d\u2028e\u2029f", "a\nb\nc\nd\ne\nf"},
		"controls":             {"a\x00\x07\x08\x7f\u0080b\tc\n", "ab\tc\n"},
		"zero width":           {"a\u200bb\u200cc\u200dd\u2060e\u00adf", "abcdef"},
		"direction":            {"a\u202eb\u2066c\u200ed\u061ce", "abcde"},
		"byte order marks":     {"\ufeffa\ufeffb", "ab"},
		"tag characters":       {"a\U000e0041\U000e007fb\U000e0100", "ab"},
		"not UTF-8":            {"a\xffb\xed\xa0\x80c", "a\uFFFDb\uFFFD\uFFFD\uFFFDc"},
		"plain, with its own":  {"é √2 ≤ π 😀 e\u0301 ❤\ufe0f\n", "é √2 ≤ π 😀 e\u0301 ❤\ufe0f\n"},
		"a name, split unseen": {"<co\u200bde>", "<" + "code>"},
	} {
		require.Equal(t, c.want, Clean(c.in), name)
	}
}

// Whatever the bytes: the result is valid, holds nothing unseen, and is its own cleaning; text that a reader sees is not touched.
func TestCleanIsIdempotentAndVisible(t *testing.T) {
	bits := []string{
		"\x1b", "[", "]", "P", "\\", "\x07", ";", "m", "31", "\r", "\n", "\u009b", "\u009d", "\u009c", "\u2028", "\u200b", "\xff", "\xc2",
		"\x9c", "\xf3\xa0", "a", "é", "(B",
	}
	often(t, func(rt *rapid.T) {
		in := strings.Join(rapid.SliceOfN(rapid.OneOf(rapid.SampledFrom(bits), rapid.String()), 0, 40).Draw(rt, "output"), "")
		s := Clean(in)
		require.True(rt, utf8.ValidString(s))
		require.Equal(rt, s, Clean(s))
		for _, r := range s {
			require.True(rt, r == '\n' || r == '\t' || !unseen(r), "%U", r)
			require.NotContains(rt, "\r\x0b\x0c\u0085\u2028\u2029", string(r))
		}
		plain := rapid.StringMatching(`[ -~\n\täöü漢😀≤π]{0,200}`).Draw(rt, "plain")
		require.Equal(rt, plain, Clean(plain))
	})
}

// Names that overlap, that begin with a character of many bytes or consist of one leave none behind.
func TestInertNamesAreGone(t *testing.T) {
	pieces := []string{"<a>", "<", ">", "a", "><", "▁<PRE>", "▁", "PRE", "é", " ", "<|x|>", "b"}
	often(t, func(rt *rapid.T) {
		names := rapid.SliceOfNDistinct(
			rapid.SampledFrom([]string{"<a>", "><", "▁<PRE>", "é", "<a><a>", "a>b", ">b<"}), 0, 7, rapid.ID,
		).Draw(rt, "names")
		text := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 30).Draw(rt, "text"), "")
		s := newInert(names).in(text)
		require.True(rt, utf8.ValidString(s))
		for _, name := range names {
			require.NotContains(rt, s, name)
		}
	})
}
