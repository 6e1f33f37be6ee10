package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// asked is the code that a turn asks to run, or the status of a request without any.
func asked(t require.TestingT, p *Tags, turn string) string {
	q, closed := p.Call([]byte(turn), len(turn), false)
	require.True(t, closed, turn)
	if q.Invalid != "" {
		return q.Invalid
	}
	return q.Code
}

// The code that runs is the code that was written, however it was fenced.
func TestCodeIsWhatTheTurnFenced(t *testing.T) {
	p := tags(t, nil)
	for name, c := range map[string]struct{ turn, code string }{
		"as the template asks":           {"think <code>\n```python\nprint(1)\n```\n</code>", "print(1)"},
		"no fence":                       {"<code>print(3)</code>", "print(3)"},
		"no fence, lines":                {"<code>\nx = 1\nprint(x)\n</code>", "x = 1\nprint(x)"},
		"no language":                    {"<code>\n```\nprint(4)\n```</code>", "print(4)"},
		"only a closing fence":           {"<code>\nprint(4)\n```\n</code>", "print(4)"},
		"a closing fence too many":       {"<code>\n```python\nprint(4)\n```\n```\n</code>", "print(4)"},
		"a doubled closing, no language": {"<code>\n```\nprint(4)\n```\n```\n</code>", "print(4)"},
		"nothing":                        {"<code>\n```python\n```\n</code>", "empty_code"},
		"blank lines":                    {"<code>\n```python\n\n  \n```\n</code>", "empty_code"},
		"tags alone":                     {"<code></code>", "empty_code"},
		"nothing opened":                 {"nothing opened</code>", "no_code"},
		"a block without a tag":          {"```python\nprint(1)\n```\n</code>", "print(1)"},

		"python3":        {"<code>\n```python3\nprint(1)\n```\n</code>", "print(1)"},
		"Python":         {"<code>\n```Python\nprint(1)\n```\n</code>", "print(1)"},
		"py":             {"<code>\n```py\nprint(1)\n```\n</code>", "print(1)"},
		"PY, blanks":     {"<code>\n```   PY  \nprint(1)\n```   \n</code>", "print(1)"},
		"Python 3":       {"<code>\n``` Python 3\nprint(1)\n```\n</code>", "print(1)"},
		"python3.11":     {"<code>\n```python3.11\nprint(1)\n```\n</code>", "print(1)"},
		"ipython":        {"<code>\n```ipython\nprint(1)\n```\n</code>", "print(1)"},
		"python-exec":    {"<code>\n```python-exec\nprint(1)\n```\n</code>", "print(1)"},
		"pandoc":         {"<code>\n```{.python}\nprint(1)\n```\n</code>", "print(1)"},
		"pandoc, more":   {"<code>\n``` { .python .numberLines }\nprint(1)\n```\n</code>", "print(1)"},
		"knitr":          {"<code>\n```{python, echo=FALSE}\nprint(1)\n```\n</code>", "print(1)"},
		"a bare name":    {"<code>\npython\nprint(1)\n</code>", "print(1)"},
		"name below":     {"<code>\n```\nPython\nprint(1)\n```\n</code>", "print(1)"},
		"no name":        {"<code>\npython = 1\nprint(python)\n</code>", "python = 1\nprint(python)"},
		"only that name": {"<code>\npython\n</code>", "python"},
		"Quarto":         {"<code>\n```{python}\n#| echo: false\nprint(1)\n```\n</code>", "#| echo: false\nprint(1)"},
		"MyST":           {"<code>\n```{code-cell}\nprint(1)\n```\n</code>", "print(1)"},
		"MyST, a kernel": {"<code>\n```{code-cell} ipython3\n:tags: [hide-input]\n:name: a\nprint(1)\n```\n</code>", "print(1)"},
		"MyST, YAML":     {"<code>\n```{code-cell} python\n---\ntags: [a]\n---\n\nprint(1)\n```\n</code>", "\nprint(1)"},
		"MyST's block":   {"<code>\n~~~{code-block} python\n:linenos:\nprint(1)\n~~~\n</code>", "print(1)"},
		"MyST's others":  {"<code>\n```{code-cell} python\nx = 1\n```\n```{code-block} json\n{}\n```\n</code>", "x = 1"},
		"attributes":     {"<code>\n```python linenums=\"1\" hl_lines=\"2 3\"\nprint(1)\n```\n</code>", "print(1)"},
		"attribute list": {"<code>\n```python {.numberLines}\nprint(1)\n```\n</code>", "print(1)"},
		"Hugo":           {"<code>\n```python {linenos=table,hl_lines=[8]}\nprint(1)\n```\n</code>", "print(1)"},
		"glued list":     {"<code>\n```python{.numberLines}\nprint(1)\n```\n</code>", "print(1)"},
		"a file's name":  {"<code>\n```python main.py\nprint(1)\n```\n</code>", "print(1)"},
		"name and title": {"<code>\n```python:main.py\nprint(1)\n```\n</code>", "print(1)"},
		"only a name":    {"<code>\n```main.py\nprint(1)\n```\n</code>", "print(1)"},
		"a remark":       {"<code>\n```python (fixed)\nprint(1)\n```\n</code>", "print(1)"},

		"four back-ticks":          {"<code>\n````python\nprint(1)\n````\n</code>", "print(1)"},
		"a longer closing fence":   {"<code>\n```python\nprint(1)\n`````\n</code>", "print(1)"},
		"three inside four":        {"<code>\n````python\ns = '''\n```\n'''\n````\n</code>", "s = '''\n```\n'''"},
		"tildes":                   {"<code>\n~~~python\nprint(1)\n~~~\n</code>", "print(1)"},
		"tildes, no language":      {"<code>\n~~~~\nprint(1)\n~~~~\n</code>", "print(1)"},
		"a shorter closing fence":  {"<code>\n````python\nprint(1)\n```\n</code>", "print(1)"},
		"another closing fence":    {"<code>\n~~~python\nprint(1)\n```\n</code>", "print(1)"},
		"in a list":                {"1. <code>\n   ```python\n   print(1)\n   ```\n   </code>", "print(1)"},
		"behind a bullet":          {"<code>\n- ```python\n  print(1)\n  ```\n</code>", "print(1)"},
		"back-ticks inside tildes": {"<code>\n~~~py\ns = 1\n```\n~~~\n</code>", "s = 1\n```"},
		"CRLF": {
			"<code>\r\n```python\r\nfor i in (1, 2):\r\n    print(i)\r\n```\r\n</code>", "for i in (1, 2):\r\n    print(i)",
		},
		"old line breaks": {
			"<code>\r```python\rfor i in (1, 2):\r    print(i)\r```\r</code>", "for i in (1, 2):\n    print(i)",
		},
		"a mark before the fence": {"<code>\n\ufeff```python\nprint(1)\n```\n</code>", "print(1)"},
		"fence beside the tags":   {"<code>```python\nprint(1)\n```</code>", "print(1)"},

		"closing fence behind the code":   {"<code>\n```python\nprint(42)```</code>", "print(42)"},
		"the same, a line and prose":      {"<code>\n```python\nprint(42)```\nThat is it.\n</code>", "print(42)"},
		"the same, behind a comment":      {"<code>\n```python\nprint(42)  # six times seven```\n</code>", "print(42)  # six times seven"},
		"one line":                        {"<code>```python print(42)```</code>", "print(42)"},
		"one line, no language":           {"<code>```print(42)```</code>", "print(42)"},
		"code on the fence line":          {"<code>\n```python print(42)\n```\n</code>", "print(42)"},
		"code on the fence line and more": {"<code>\n```py import math\nprint(math.pi)\n```\n</code>", "import math\nprint(math.pi)"},
		"the same, no language":           {"<code>\n``` x = 5\nprint(x)\n```\n</code>", "x = 5\nprint(x)"},
		"an assignment on it":             {"<code>\n```python x=5\nprint(x)\n```\n</code>", "x=5\nprint(x)"},
		"one attribute, a file":           {"<code>\n```python filename=main.py\nprint(42)\n```\n</code>", "print(42)"},
		"one attribute, a path":           {"<code>\n```python file=src/a.py\nfile = 1\nprint(file)\n```\n</code>", "file = 1\nprint(file)"},
		"one attribute, a string":         {"<code>\n```python title=\"x.py\"\nprint(42)\n```\n</code>", "print(42)"},
		"one attribute, a number":         {"<code>\r\n```python linenums=\"1\"\r\nprint(42)\r\n```\r\n</code>", "print(42)"},
		"one attribute, a word":           {"<code>\n```python linenums=true\nprint(42)\n```\n</code>", "print(42)"},
		"attributes of several forms":     {"<code>\n```python title=\"x.py\" {1,3-5} showLineNumbers\nprint(42)\n```\n</code>", "print(42)"},
		"a string that is used":           {"<code>\n```python s=\"a\"\nprint(s)\n```\n</code>", "s=\"a\"\nprint(s)"},
		"an assignment alone":             {"<code>\n```python x=1\n```\n</code>", "x=1"},
		"a set on it":                     {"<code>\n```python {1==1}\nprint(2)\n```\n</code>", "{1==1}\nprint(2)"},
		"a choice on it":                  {"<code>\n```python x=1 if 2 else 3\nprint(x)\n```\n</code>", "x=1 if 2 else 3\nprint(x)"},
		"Markdown around it":              {"<code>\n````md\nSo:\n```python\nprint(42)\n```\n````\n</code>", "print(42)"},
		"Markdown around it, no name":     {"<code>\n````\n```python\nprint(42)\n```\nIt's done.\n````\n</code>", "print(42)"},
		"Markdown of tildes around it":    {"<code>\n````markdown\n~~~py\nprint(42)\n~~~\n````\n</code>", "print(42)"},
		"Markdown around, never closed":   {"<code>\n````md\n```python\nprint(42)\n```\n</code>", "print(42)"},
		"opening fence behind prose":      {"<code>Here it is: ```python\nprint(42)\n```\n</code>", "print(42)"},
		"no closing fence":                {"<code>\n```python\nprint(42)\n</code>", "print(42)"},

		"prose after the block":    {"<code>\n```python\nprint(42)\n```\nThis prints the answer.\n</code>", "print(42)"},
		"prose before the block":   {"<code>\nLet's compute:\n\n```python\nprint(42)\n```\n</code>", "print(42)"},
		"two blocks":               {"First <code>\n```python\nprint(1)\n```\nand then\n```python\nprint(2)\n```\n</code>", "print(2)"},
		"its output, too":          {"<code>\n```python\nprint(1)\n```\nOutput:\n```\n1\n```\n</code>", "print(1)"},
		"its output as text":       {"<code>\n```\nprint(1)\n```\n```text\n1\n```\n</code>", "print(1)"},
		"an empty one behind":      {"<code>\n```python\nprint(1)\n```\n```python\n```\n</code>", "print(1)"},
		"begun again":              {"<code>\n```python\nprint(1\n```python\nprint(2)\n```\n</code>", "print(2)"},
		"tag and all begun again":  {"<code>\n```python\nprint(1\n<code>\n```python\nprint(2)\n```\n</code>", "print(2)"},
		"a block before":           {"```python\nx=1\n```\nno, better:\n<code>\n```python\nx=2\nprint(x)\n```\n</code>", "x=2\nprint(x)"},
		"a fence in prose before":  {"I would not use ```python here.\n<code>\nprint(42)\n</code>", "print(42)"},
		"a tag in prose before":    {"I will use <code> tags. <code>\n```python\nprint(42)\n```\n</code>", "print(42)"},
		"a tag and an apostrophe":  {"Let's use <code>, it's simple: <code>print('x')</code>", "print('x')"},
		"a fence in prose, inside": {"<code>\nI'd say ```python here.\n```python\nprint(42)\n```\n</code>", "print(42)"},

		"quotes in prose before":    {"<code>\nI use ''' quotes, and it's \"right:\n```python\nprint('''x''')\n```\n</code>", "print('''x''')"},
		"a tag between apostrophes": {"Don't say 'the <code> tag' but <code>print('x')</code>", "print('x')"},
		"behind words of Python": {
			"<code>\n```python\ndef f():\n    return '''\n```\n'''\nprint(1 if f() else\"```\", \"\\n```\" in'```')\n```\n</code>",
			"def f():\n    return '''\n```\n'''\nprint(1 if f() else\"```\", \"\\n```\" in'```')",
		},

		"indented code": {"<code>\n```python\n    x = 41\n    print(x + 1)\n```\n</code>", "x = 41\nprint(x + 1)"},
		"indented with fences": {
			"<code>\n  ```python\n  def f():\n      return 1\n\n  print(f())\n  ```\n</code>", "def f():\n    return 1\n\nprint(f())",
		},
		"indented with tabs":    {"<code>\n```python\n\tif 1:\n\t\tprint(1)\n```\n</code>", "if 1:\n\tprint(1)"},
		"indented, no fence":    {"<code>\n    x = 1\n    print(x)\n</code>", "x = 1\nprint(x)"},
		"indented, a comment":   {"<code>\n```python\n    x = 1\n# why\n    print(x)\n```\n</code>", "x = 1\n# why\nprint(x)"},
		"indented, a string":    {"<code>\n```python\n    s = '''\na\n    b'''\n    print(s)\n```\n</code>", "s = '''\na\nb'''\nprint(s)"},
		"wrong, and left so":    {"<code>\n```python\n    x = 1\nprint(x)\n```\n</code>", "    x = 1\nprint(x)"},
		"tabs in a function":    {"<code>\n```python\ndef f():\n\treturn 42\nprint(f())\n```\n</code>", "def f():\n\treturn 42\nprint(f())"},
		"blank lines are kept":  {"<code>\n```python\n\nprint(1)\n\n```\n</code>", "\nprint(1)\n"},
		"blank first, indented": {"<code>\n```python\n\n    print(1)\n```\n</code>", "\nprint(1)"},

		"prints fences": {
			"<code>\n```python\nprint(\"```json\")\nprint(1)\nprint(\"```\")\n```\n</code>", "print(\"```json\")\nprint(1)\nprint(\"```\")",
		},
		"a fence in a string":   {"<code>\n```python\ns = \"```\"\nprint(len(s))\n```\n</code>", "s = \"```\"\nprint(len(s))"},
		"a fence in a comment":  {"<code>\n```python\nprint(42)  # not ``` a fence\n```\n</code>", "print(42)  # not ``` a fence"},
		"a comment ends in one": {"<code>\n```python\nx = 1  # see ```\nprint(x)\n```\n</code>", "x = 1  # see ```\nprint(x)"},
		"a block in a docstring": {
			"<code>\n```python\ndoc = \"\"\"\n```python\nx = 1\n```\n\"\"\"\nprint(doc.count(\"x = 1\"))\n```\n</code>",
			"doc = \"\"\"\n```python\nx = 1\n```\n\"\"\"\nprint(doc.count(\"x = 1\"))",
		},
		"the same, no fence": {
			"<code>\ndoc = '''\n```python\nx = 1\n```\n'''\nprint(len(doc))\n</code>",
			"doc = '''\n```python\nx = 1\n```\n'''\nprint(len(doc))",
		},
		"a raw docstring":     {"<code>\n```python\nd = r'''\\\n```\n'''\nprint(d)\n```\nSo.\n</code>", "d = r'''\\\n```\n'''\nprint(d)"},
		"a string goes on":    {"<code>\n```python\ns = 'a\\\n```\\\nb'\nprint(s)\n```\n</code>", "s = 'a\\\n```\\\nb'\nprint(s)"},
		"quotes in a comment": {"<code>\n```python\n# don't '''\nprint(1)\n```\nThat's '''all'''.\n</code>", "# don't '''\nprint(1)"},
		"an endless string":   {"<code>\n```python\ns = '''\nprint(1)\n```\nDone.\n</code>", "s = '''\nprint(1)"},
		"a tag in a string":   {"<code>\n```python\nprint(\"<code>\")\n```\n</code>", "print(\"<code>\")"},
		"a tag in a comment":  {"<code>\n# between <code> tags\nprint(1)\n</code>", "# between <code> tags\nprint(1)"},
		"both in a docstring": {
			"<code>\n```python\ns = '''<code>\n```python\nx\n```\n'''\nprint(s)\n```\n</code>",
			"s = '''<code>\n```python\nx\n```\n'''\nprint(s)",
		},
		"the first tag that ends":  {"<code>print(1)</code> and </code>", "print(1)"},
		"a closing tag is the end": {"<code>\n```python\nprint('</code>')\n```\n</code>", "print('"},
	} {
		require.Equal(t, c.code, asked(t, p, c.turn), name)
	}
}

// no_fence: retool-eval looks for the block in all of the turn, and runs a turn without one from its first byte.
func TestReleasedEvaluationRunsTheWholeTurn(t *testing.T) {
	p := tags(t, func(c *ProtocolConfig) { c.NoFence = "retool-eval" })
	for turn, code := range map[string]string{
		"print(5)</code>":                                  "print(5)",
		"Now: <code>print(5)</code>":                       "Now: <code>print(5)",
		"```python\nx = 1\n```\n<code>\nprint(x)\n</code>": "x = 1",
		"<code>\n```python\nprint(1)\n```\n</code>":        "print(1)",
	} {
		require.Equal(t, code, asked(t, p, turn))
	}
}

// pythonLine is source as models write it: quotes, comments, back-ticks where Python allows them.
var pythonLine = rapid.OneOf(
	rapid.SampledFrom([]string{
		"", "x = 1", "def f(a):", "\treturn a", "    print(f(2))", "s = \"```\"", "t = '~~~'", "# ``` a fence ~~~", "r = r'\\''",
		"print(\"it's\")", "y = '''a'''", "z = \"\"\"\n```python\n'''\n```\n\"\"\"", "w = f\"{x!r:>{3}}\"", "u = 'a\\\n```\\\nb'",
		"if x<code>y: pass",
		"print('<code>')", "  ", "é = \"ü\"", "# don't", "k = {'a': [1,\n 2]}", "@d", "lambda: 0", "x = ~~~x"}),
	rapid.StringMatching(`[a-z]{1,5} = [0-9]{1,4}`),
)

// Whatever the program, in whatever fence, it comes back byte for byte.
func TestFencedCodeComesBackByteForByte(t *testing.T) {
	p := tags(t, nil)
	often(t, func(rt *rapid.T) {
		code := "a = 0\n" + strings.Join(rapid.SliceOfN(pythonLine, 0, 12).Draw(rt, "code"), "\n") + "\nb = 1"
		code = strings.ReplaceAll(code, "x<code>y", "x < y")
		mark := rapid.SampledFrom([]string{"```", "````", "~~~", "~~~~~"}).Draw(rt, "fence")
		info := rapid.SampledFrom([]string{"", "python", " Python3 ", "py", "{.python}", "python title.py"}).Draw(rt, "info")
		closing := rapid.SampledFrom(
			[]string{mark, mark + mark[:1], "  " + mark + " ", mark + "\nand so on, it's done", "\n" + mark},
		).Draw(rt, "closing")
		before := rapid.SampledFrom(
			[]string{"", "I'd use ```python here.\n", "Use <code> tags: ", "```python\nold = 1\n```\n"},
		).Draw(rt, "before")
		indent := rapid.SampledFrom([]string{"", "  ", "\t"}).Draw(rt, "indent")
		body := code
		if indent != "" {
			body = indent + strings.ReplaceAll(code, "\n", "\n"+indent)
		}
		turn := before + "<code>\n" + indent + mark + info + "\n" + body + "\n" + closing + "\n</code>"
		want := code
		if strings.HasPrefix(closing, "\n") {
			want += "\n"
		}
		require.Equal(rt, want, asked(rt, p, turn), turn)
		if before == "" || !strings.Contains(before, "python") {
			require.Equal(rt, code, asked(rt, p, before+"<code>\n"+code+"\n</code>"), "no fence")
		}
	})
}

// No turn makes the cutter fail, take long, or find code in another place than the turn.
func TestAnyTurnIsCut(t *testing.T) {
	p := tags(t, nil)
	bits := []string{
		"<code>", "</code>", "```", "````", "~~~", "python", "\n", "'", "\"", "'''", "\"\"\"", "\\", "#", " ", "\t", "\r\n", "{.py}", "x",
		"é", "\ufeff", "\xff",
	}
	often(t, func(rt *rapid.T) {
		turn := strings.Join(rapid.SliceOfN(rapid.SampledFrom(bits), 0, 40).Draw(rt, "turn"), "") + "</code>"
		q, _ := p.Call([]byte(turn), len(turn), false)
		end := strings.Index(turn, "</code>")
		require.LessOrEqual(rt, len(q.Code), end)
		if at := strings.Index(turn, "<code>"); at >= 0 && at < end {
			require.True(rt, strings.HasPrefix(turn[q.From:], "<code>") && q.From < end)
		} else {
			require.Zero(rt, q.From)
		}
		outside := OutsideCode(turn)
		require.LessOrEqual(rt, len(outside), len(turn))
	})
	for _, bit := range append(bits, "'\\", "\\'", "<code>'", "'''a", "```python\n'''\n```\n", "<code>```\n") {
		long := strings.Repeat(bit, 200_000/len(bit)) + "</code>"
		p.Call([]byte(long), len(long), false)
		OutsideCode(long)
	}
}

// What a response says outside its code is all that no request holds.
func TestOutsideCode(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"a request":                  {"a<code>\n```python\nx\n```\n</code>b", "ab"},
		"two":                        {"a<code>x</code>b<code>y</code>c", "abc"},
		"none":                       {"a </code> b", "a </code> b"},
		"a tag in prose":             {"I use <code> tags. The answer is \\boxed{5}.", "I use <code> tags. The answer is \\boxed{5}."},
		"a tag before a request":     {"Use <code> so: <code>\n```python\nx\n```\n</code>\\boxed{5}", "Use <code> so: \\boxed{5}"},
		"a tag behind a request":     {"<code>x</code>\\boxed{5} by <code> alone", "\\boxed{5} by <code> alone"},
		"a fence ends it":            {"a<code>\n```python\nprint(1)\n```\nThe answer is \\boxed{5}", "aThe answer is \\boxed{5}"},
		"a fence beside the code":    {"a<code>\n```python\nprint(1)```\n\\boxed{5}", "a\\boxed{5}"},
		"cut off in the program":     {"a<code>\n```python\nx = r'\\boxed{5}'\nprint(", "a"},
		"cut off after the fence":    {"a<code>\n```python\n", "a"},
		"cut off after the tag":      {"a<code>\n", "a<code>\n"},
		"cut off, a string":          {"a<code>\n```py\ns = '''\n```\n'''\nprint(r'\\boxed{5}')", "a"},
		"prose with a fence later":   {"The <code> tag.\n```python\nx\n```\n\\boxed{5}", "The <code> tag.\n```python\nx\n```\n\\boxed{5}"},
		"given up and begun again":   {"<code>\n```python\nx = 1\n<code>\n```python\ny\n```\n</code>z", "z"},
		"ended by a fence, a second": {"<code>\n```python\nx\n```\nso \\boxed{1}<code>y</code>z", "so \\boxed{1}z"},
		"a tag in the code":          {"<code>\n```python\nprint('<code>')\n```\n</code>z", "z"},
		"tildes":                     {"<code>\n~~~\nx\n~~~\nz", "z"},
	} {
		require.Equal(t, c.want, OutsideCode(c.text), name)
	}
}

// What a response says outside the outputs is no tool's.
func TestOutsideReplies(t *testing.T) {
	for text, want := range map[string]string{
		"a":                                  "a",
		"a<interpreter>\n5\n</interpreter>b": "a\nb",
		"a<interpreter>5</interpreter><interpreter>6</interpreter>": "a\n\n",
		"a<interpreter>\\boxed{5}":                                  "a\n",
		"a</interpreter>b":                                          "a</interpreter>b",
	} {
		require.Equal(t, want, OutsideReplies(text), text)
	}
}

// The tags are spelt in one file of this package: a second protocol is a second file.
func TestTagsAreSpeltInOneFile(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	spelt := []string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		if !strings.HasSuffix(file, "_test.go") && strings.Contains(string(text), "code>") {
			spelt = append(spelt, file)
		}
	}
	require.Equal(t, []string{"tags.go"}, spelt)
}
