package engine

import (
	"regexp"
	"strings"
)

// Code is cut out of a turn at fence lines, and what lies between two of them is run as it was written. A fence line is, as in
// Markdown, a run of at least three back-ticks or tildes at the begin of a line, behind any indentation. One that opens may carry an
// info string (`python`, `Python 3`, `{.python .numberLines}`, `python title="x.py"`, MyST's `{code-cell} ipython3`, whose options are no
// code) or the first line of the code; one that closes is of the same character, at least as long, and carries nothing.
//
// A program may print or hold such lines itself, so fences are looked for as Python would read the text: what stands in a string
// literal is no fence, nor is anything else there, and a comment reaches to the end of its line. Outside both, Python has no use for
// three back-ticks, so a closing fence may also stand behind the last line's code. A string that never ends protects nothing.

// lineBreaks is a text with a line feed in place of each lone carriage return, which breaks a line, too, as Python reads it. Places in it
// are those in the text.
func lineBreaks(text string) string {
	if !strings.Contains(text, "\r") {
		return text
	}
	out := []byte(text)
	for i, c := range out {
		if c == '\r' && (i+1 == len(out) || out[i+1] != '\n') {
			out[i] = '\n'
		}
	}
	return string(out)
}

// A block is one fenced piece of a text.
type block struct {
	from, to int // of the text, fence lines included
	code     string
	kind     blockKind
	closed   bool // by a fence; else code reaches to the end of the text or to the next opening fence
}

type blockKind uint8

const (
	otherBlock  blockKind = iota // an info string that names something else
	plainBlock                   // no info string
	pythonBlock                  // one that names Python
)

// blocks finds the fenced blocks of a text, in order.
func blocks(text string) []block {
	s := scanner{text: text}
	for s.at < len(text) {
		s.line()
	}
	s.end(len(text), len(text), false)
	return s.found
}

// A scanner walks a text line by line, over its strings. at is never inside one.
type scanner struct {
	text  string
	at    int
	found []block

	open  bool
	fence fence
	begin int // of the open block's fence line
	start int // of its code

	quotes
}

// line handles one line and goes to the start of the next one that does not begin inside a string.
func (s *scanner) line() {
	begin, end := s.at, lineEnd(s.text, s.at)
	if f, ok := parseFence(s.text[begin:end]); ok {
		switch {
		case s.open && f.mark == s.fence.mark && f.size >= s.fence.size && f.blank:
			s.end(begin, min(end+1, len(s.text)), true)
			s.at = end + 1
			return
		case !s.open || f.mark == s.fence.mark && f.size >= s.fence.size: // or it begins again, the block before it left open
			s.end(begin, begin, false)
			s.opened(f, begin, end)
		}
	}
	for s.at < len(s.text) {
		switch c := s.text[s.at]; c {
		case '\n':
			s.at++
			return
		case '#':
			s.at = lineEnd(s.text, s.at)
		case '"', '\'':
			s.at = s.skip(s.text, s.at)
		case '`', '~':
			s.run(c)
		default:
			s.at++
		}
	}
}

// run handles fence characters in the middle of a line: they close a block, or open one if they end a line of prose.
func (s *scanner) run(c byte) {
	begin := s.at
	for s.at < len(s.text) && s.text[s.at] == c {
		s.at++
	}
	end := lineEnd(s.text, begin)
	switch {
	case s.open && c == s.fence.mark && s.at-begin >= s.fence.size && blank(s.text[s.at:end]):
		s.end(begin, min(end+1, len(s.text)), true)
		s.at = end
	case !s.open && c == '`' && pythonName.MatchString(strings.TrimSpace(s.text[s.at:end])):
		if f, ok := parseFence(s.text[begin:end]); ok {
			s.opened(f, begin, end)
		}
	}
}

// opened begins a block whose fence stands at begin and whose line ends at end.
func (s *scanner) opened(f fence, begin, end int) {
	s.open, s.fence, s.begin = true, f, begin
	s.start = min(begin+f.code, len(s.text))
	if s.start == end {
		s.start = min(end+1, len(s.text))
	}
	s.at = s.start
	if s.start > end {
		s.at = end // line goes on with the next
	}
}

// end ends the open block, if there is one: its code at code, itself at to.
func (s *scanner) end(code, to int, closed bool) {
	if !s.open {
		return
	}
	s.open = false
	text := s.text[s.start:max(s.start, code)]
	if !closed { // perhaps by a fence of another kind or length, or in what the scan took for a comment or a broken string
		t := strings.TrimRight(text, " \t\r\n")
		for _, mark := range []string{"`", "~"} {
			if strings.HasSuffix(t, strings.Repeat(mark, 3)) {
				text, closed = strings.TrimRight(t, mark), true
			}
		}
	}
	if s.start < lineEnd(s.text, s.begin) && s.fence.kind == pythonBlock {
		text = withoutAttribute(text)
	}
	if s.fence.directive {
		text = text[len(options.FindString(text)):]
	}
	if s.fence.kind == plainBlock {
		text = withoutName(text)
	}
	b := block{from: s.begin, to: to, code: dedent(oneLineBreak(text)), kind: s.fence.kind, closed: closed}
	if b.kind != pythonBlock { // perhaps Markdown that has the program in a block of its own
		if code, ok := program(blocks(text)); ok {
			b.kind, b.code = pythonBlock, code
		}
	}
	s.found = append(s.found, b)
}

// program is the last block of those that name Python, the last that holds something if one does.
func program(all []block) (code string, found bool) {
	for _, b := range all {
		if b.kind == pythonBlock && (!blank(b.code) || blank(code)) {
			code, found = b.code, true
		}
	}
	return code, found
}

// withoutAttribute takes the first line of a block's code off, which stands on the fence line, if it is one attribute and code follows.
// NAME=VALUE is one if VALUE is a Python file's name, or a string or a bare word and no line that follows has the word NAME: then it is no
// loss as code either. Two and more of them are attributes in any case (parseFence).
func withoutAttribute(text string) string {
	first, rest, _ := strings.Cut(text, "\n")
	m := attribute.FindStringSubmatch(strings.TrimSpace(first))
	if m == nil || blank(strings.ReplaceAll(rest, "\n", "")) {
		return text
	}
	if !strings.HasSuffix(m[2], ".py") && regexp.MustCompile(`\b`+regexp.QuoteMeta(m[1])+`\b`).MatchString(rest) {
		return text
	}
	return rest
}

// withoutName takes the name of the language off that stands in a line of its own before the code: as code it is an error at best.
func withoutName(text string) string {
	if rest := text[len(nameLine.FindString(text)):]; strings.TrimSpace(rest) != "" {
		return rest
	}
	return text
}

var nameLine = regexp.MustCompile(`^[ \t]*(?i:python3?|py)[ \t]*\r?\n`)

// oneLineBreak takes the last line break off: it belongs to the fence or the tag on the next line.
func oneLineBreak(text string) string {
	return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
}

// A fence is what a fence line says.
type fence struct {
	mark  byte
	size  int
	kind  blockKind
	blank bool // nothing behind the run
	code  int  // where in the line code begins; its length if none stands there

	directive bool // of MyST, in braces: options may stand between it and the code
}

const keyValue = `[\w-]+=(?:"[^"]*"|'[^']*'|[\w./-]+)`

const pythonSpelt = `(?i:i?python|py)[\d.]*(?:[-_]\w+)?`

var (
	pythonName = regexp.MustCompile(`^\.?` + pythonSpelt + `$|^\{[ \t]*\.?` + pythonSpelt + `(?:[ \t,][^}]*)?\}$|(?i)\.py$`)
	infoWord   = regexp.MustCompile(`^(?:\{[^}]*\}|[\w.+#:/,-]+)(?:[ \t{]|$)`)
	attributes = regexp.MustCompile(`^(?:\{[ \t]*(?:[.#]|[\w-]+=[^=}])[^}]*\}|\([\w .-]*\)|[\w.:/-]+|(?:(?:` + keyValue +
		`|\{[\d, \t-]*\}|showLineNumbers|numberLines|lineNumbers)(?:[ \t]+|$)){2,})$`)
	attribute = regexp.MustCompile(`^([\w-]+)=("[^"]*"|'[^']*'|[\w./-]+)$`)
	directive = regexp.MustCompile(`^\{[ \t]*(?:code-cell|code-block|code|sourcecode|jupyter-execute|exec-code)[ \t]*\}$`)
	options   = regexp.MustCompile(`^(?:[ \t]*---[ \t]*\r?\n(?s:.*?)\n[ \t]*---[ \t]*(?:\r?\n|$)|(?:[ \t]*:[\w-]+:[^\n]*(?:\n|$))+)`)
)

// parseFence reads a line as an opening fence. Behind the name of a language may stand code; attributes, which no Python statement
// looks like, are none.
func parseFence(line string) (f fence, ok bool) {
	f.code = len(line)
	line = strings.TrimRight(line, " \t\r")
	rest := strings.TrimLeft(line, " \t\ufeff")
	if rest == "" || rest[0] != '`' && rest[0] != '~' {
		return f, false
	}
	f.mark, f.kind = rest[0], plainBlock
	info := strings.TrimLeft(rest, string(f.mark))
	if f.size = len(rest) - len(info); f.size < 3 {
		return f, false
	}
	if f.blank = info == ""; f.blank {
		return f, true
	}
	info = strings.TrimLeft(info, " \t")
	word := infoWord.FindString(info)
	if !strings.HasPrefix(word, "{") {
		word = strings.TrimRight(word, " \t{")
	} else {
		word = strings.TrimRight(word, " \t")
	}
	after := strings.TrimLeft(info[len(word):], " \t")
	name, _, _ := strings.Cut(word, ":")
	if !strings.HasPrefix(name, "{") {
		name, _, _ = strings.Cut(name, ",")
	}
	if directive.MatchString(word) { // the language is its argument; a cell without one is of Python
		f.directive = true
		if name, after = after, ""; name == "" {
			name = "python"
		}
	}
	switch {
	case pythonName.MatchString(name):
		f.kind = pythonBlock
		if after != "" && !attributes.MatchString(after) {
			f.code = len(line) - len(after)
		}
	case word != "" && after == "":
		f.kind = otherBlock
	default: // no name: code
		f.code = len(line) - len(info)
	}
	return f, f.mark == '`' || f.kind == pythonBlock // three tildes are operators of Python, too
}

// quotes steps over string literals. It remembers what did not end, so that no text takes it more than a few passes.
type quotes struct {
	endless [2]bool // triple quotes, by character
	dead    [2]int  // single ones up to here
}

// skip returns the end of the string literal that begins with the quote at i, or the place behind that quote if it begins none.
func (q *quotes) skip(text string, i int) int {
	c, k := text[i], 0
	if c == '\'' {
		k = 1
	}
	if !quotable(text, i) {
		return i + 1
	}
	if strings.HasPrefix(text[i+1:], string([]byte{c, c})) {
		if q.endless[k] {
			return i + 3
		}
		for j := i + 3; j+2 < len(text); j++ {
			if text[j] == '\\' {
				j++
			} else if text[j] == c && text[j+1] == c && text[j+2] == c {
				return j + 3
			}
		}
		q.endless[k] = true
		return i + 3
	}
	if i < q.dead[k] {
		return i + 1
	}
	for j := i + 1; j < len(text); j++ {
		switch text[j] {
		case c:
			return j + 1
		case '\n':
			q.dead[k] = j
			return i + 1
		case '\\':
			if j++; j+1 < len(text) && text[j] == '\r' && text[j+1] == '\n' {
				j++
			}
		}
	}
	q.dead[k] = len(text)
	return i + 1
}

var (
	stringPrefix = regexp.MustCompile(`(?i)^(?:[rbuft]|[bft]r|r[bft])$`)
	// Words of Python that a string may follow.
	beforeString = regexp.MustCompile("^(?:and|as|assert|await|case|elif|else|except|for|if|in|is|lambda|match|not|or|raise|return|" +
		"while|with|yield)$")
)

// quotable says whether the quote at i may begin a string: behind a word it does so only if that is a string's prefix or one of Python's
// own, behind a closing bracket never. Else each apostrophe of English would begin one.
func quotable(text string, i int) bool {
	if stringPrefix.MatchString(lastWord(text[:i])) {
		return true
	}
	before := strings.TrimRight(text[:i], " \t")
	if word := lastWord(before); word != "" {
		return beforeString.MatchString(word)
	}
	return before == "" || !strings.ContainsRune(")]}", rune(before[len(before)-1]))
}

// lastWord is the word a text ends with, or the end of a long one.
func lastWord(text string) string {
	j := len(text)
	for j > 0 && len(text)-j < 10 && (text[j-1] == '_' || text[j-1] >= 0x80 || isAlnum(text[j-1])) {
		j--
	}
	return text[j:]
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func blank(s string) bool { return strings.Trim(s, " \t\r\ufeff") == "" }

// lineEnd is where the line that i stands in ends: at its line feed, or at the end of the text.
func lineEnd(text string, i int) int {
	if n := strings.IndexByte(text[i:], '\n'); n >= 0 {
		return i + n
	}
	return len(text)
}

// dedent takes off the indentation that all lines share, comments and the insides of strings aside, if the first line is indented:
// as it stands no such code would run.
func dedent(code string) string {
	first := strings.TrimLeft(code, " \t\r\n")
	at := len(code) - len(first)
	begin := strings.LastIndexByte(code[:at], '\n') + 1
	if indent := code[begin:at]; indent != "" && first != "" && shared(code, indent) {
		lines := strings.SplitAfter(code, "\n")
		for i, line := range lines {
			lines[i] = strings.TrimPrefix(line, indent)
		}
		return strings.Join(lines, "")
	}
	return code
}

// shared says whether every line that holds code begins with indent.
func shared(code, indent string) bool {
	var q quotes
	for i := 0; i < len(code); i++ { // i is at a line's begin, outside any string
		text := strings.TrimLeft(code[i:lineEnd(code, i)], " \t\r")
		if text != "" && text[0] != '#' && !strings.HasPrefix(code[i:], indent) {
			return false
		}
		for i < len(code) && code[i] != '\n' {
			switch code[i] {
			case '#':
				i = lineEnd(code, i)
			case '"', '\'':
				i = q.skip(code, i)
			default:
				i++
			}
		}
	}
	return true
}
