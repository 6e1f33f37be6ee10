package answer

import (
	"math/big"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	opToken      tokenKind = iota // an operator, a bracket, a sign
	numberToken                   // digits, with point, groups and exponent
	wordToken                     // letters
	commandToken                  // \name, by the name that stands for its variants
)

type token struct {
	kind   tokenKind
	text   string   // of a number: its digits as written
	num    *big.Rat // nil of a number that is out of bounds
	inText bool     // a word inside \text{…}
	gap    bool     // \quad or more stands before it
	space  bool     // a blank stands before it
}

func (t token) is(op string) bool { return t.kind == opToken && t.text == op }

// lexer cuts an answer into tokens: one for 12{,}000, one for \dfrac and \frac, none for \left and \,.
type lexer struct {
	s        string
	out      []token
	space    bool
	gap      bool
	brackets int  // open ( [ \{, inside of which a comma separates
	words    bool // inside \text{…}
	currency bool // a lone dollar sign is money; two of them delimit a formula
}

// maxPlaces bounds the exponent of a number such as 1e9.
const maxPlaces = 2000

func lex(s string) []token {
	s = spell(s)
	dollars := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '$':
			dollars++
		}
	}
	l := lexer{s: s, currency: dollars%2 == 1}
	l.run()
	return l.out
}

func (l *lexer) emit(kind tokenKind, text string) {
	l.out = append(l.out, token{kind: kind, text: text, inText: l.words, space: l.space, gap: l.gap})
	l.space, l.gap = false, false
}

func (l *lexer) run() {
	for l.s != "" {
		c := l.s[0]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '~':
			l.s, l.space = l.s[1:], true
		case c >= '0' && c <= '9' || c == '.' && len(l.s) > 1 && (digit(l.s[1]) || repeats(l.s[1:])):
			l.number()
		case c == '\\':
			l.command()
		case c < utf8.RuneSelf && !letter(c):
			l.operator()
		default:
			l.word()
		}
	}
}

func digit(c byte) bool  { return c >= '0' && c <= '9' }
func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func (l *lexer) operator() {
	for _, p := range [][2]string{{"**", "^"}, {"<=", "≤"}, {">=", "≥"}, {"!=", "≠"}, {"==", "="}, {"...", "…"}} {
		if strings.HasPrefix(l.s, p[0]) {
			l.s = l.s[2:]
			if p[0] == "..." {
				l.s = l.s[1:]
			}
			l.emit(opToken, p[1])
			return
		}
	}
	c := l.s[:1]
	l.s = l.s[1:]
	switch c {
	case "$":
		if !l.currency {
			l.space = true
			return
		}
	case "(", "[":
		l.brackets++
	case ")", "]":
		l.brackets--
	case `"`, "`":
		l.space = true
		return
	}
	l.emit(opToken, c)
}

func (l *lexer) word() {
	n := 0
	for n < len(l.s) {
		r, size := utf8.DecodeRuneInString(l.s[n:])
		inner := l.words && n > 0 && (r == '-' || r == '\'') && n+1 < len(l.s) && letter(l.s[n+1])
		if !inner && !unicode.IsLetter(r) && !unicode.IsMark(r) {
			break
		}
		n += size
	}
	if n == 0 { // neither letter nor anything known
		r, size := utf8.DecodeRuneInString(l.s)
		l.s = l.s[size:]
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			l.space = true
		} else {
			l.emit(opToken, string(r))
		}
		return
	}
	w := l.s[:n]
	if w == "x" && len(l.out) > 0 && l.out[len(l.out)-1].kind == numberToken && strings.HasPrefix(strings.TrimLeft(l.s[1:], " "), "10^") {
		l.s = l.s[1:]
		l.emit(opToken, "*") // 1.2x10^5
		return
	}
	if n == 1 && len(l.s) >= 4 && l.s[1] == '.' && letter(l.s[2]) && l.s[3] == '.' { // p.m.
		w, n = l.s[:1]+l.s[2:3], 4
	}
	l.s = l.s[n:]
	if w == "Rs" { // rupees: Rs. 500
		if rest := strings.TrimLeft(strings.TrimPrefix(l.s, "."), ` \,~`); rest != "" && digit(rest[0]) {
			l.s = rest
			l.emit(opToken, "₹")
			return
		}
	}
	l.emit(wordToken, w)
}

func (l *lexer) command() {
	n := 1
	for n < len(l.s) && letter(l.s[n]) {
		n++
	}
	if n == 1 {
		l.escape()
		return
	}
	name := l.s[1:n]
	l.s = l.s[n:]
	switch {
	case textual[name] && l.text():
		return
	case name == "hspace" || name == "vspace" || name == "label" || name == "tag" || strings.HasSuffix(name, "phantom"):
		group(&l.s)
		l.space = true
		return
	case name == "textcolor" || name == "color":
		group(&l.s)
		l.space = true
		return
	case name == "not":
		rest := strings.TrimLeft(l.s, " ")
		for from, to := range map[string]string{"=": "≠", `\in`: "∉"} {
			if after, ok := strings.CutPrefix(rest, from); ok && (after == "" || !letter(after[0]) || from == "=") {
				l.s = after
				l.emit(opToken, to)
				return
			}
		}
	case name == "begin" || name == "end":
		env, _ := group(&l.s)
		l.emit(commandToken, name+":"+env)
		return
	}
	to, known := commands[name]
	switch {
	case !known:
		l.emit(commandToken, name)
	case to == "":
		l.space = true
		l.gap = l.gap || name == "quad" || name == "qquad"
		if rest := strings.TrimLeft(l.s, " "); (name == "left" || name == "right") && strings.HasPrefix(rest, ".") {
			l.s = rest[1:]
		}
	case to == "or" || to == "i":
		l.emit(wordToken, to)
	case letter(to[0]):
		l.emit(commandToken, to)
	default:
		l.bracket(to)
	}
}

func (l *lexer) bracket(op string) {
	switch op {
	case `\{`, "[", "(", "⟨":
		l.brackets++
	case `\}`, "]", ")", "⟩":
		l.brackets--
	}
	l.emit(opToken, op)
}

// rowSkip is the distance to the next row of \\[4pt].
var rowSkip = regexp.MustCompile(`^\[\s*-?[\d.]+\s*(pt|em|ex|mm|cm|in|mu)\s*\]`)

// escape reads a backslash and what is no letter.
func (l *lexer) escape() {
	if len(l.s) == 1 {
		l.s = ""
		return
	}
	c := l.s[1]
	l.s = l.s[2:]
	switch c {
	case '{', '}':
		l.bracket(`\` + string(c))
	case '\\':
		l.s = l.s[len(rowSkip.FindString(l.s)):]
		l.emit(opToken, `\\`)
	case '%', '$', '&', '#', '_':
		l.emit(opToken, string(c))
	case '|':
		l.emit(opToken, "‖")
	default: // \, \; \! \( and the like
		l.space = true
	}
}

// group takes a braced group off the front of *s; ok is false where there is none.
func group(s *string) (content string, ok bool) {
	rest := strings.TrimLeft(*s, " \n\t")
	if !strings.HasPrefix(rest, "{") {
		return "", false
	}
	end := closing(rest[1:])
	if end < 0 {
		return "", false
	}
	*s = rest[end+2:]
	return rest[1 : end+1], true
}

// closing is the place of the brace that closes the group s begins within; -1 if there is none.
func closing(s string) int {
	depth := 1
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// text reads the group of \text{…}; braces around it count for nothing.
func (l *lexer) text() bool {
	content, ok := group(&l.s)
	if !ok {
		return false
	}
	rest, words := l.s, l.words
	l.s, l.words = content, true
	l.run()
	l.s, l.words = rest, words
	return true
}

// number reads digits in groups, a point, repeating places and an exponent.
func (l *lexer) number() {
	whole := l.groups()
	if after, ok := strings.CutPrefix(l.s, "{,}"); ok && after != "" && digit(after[0]) &&
		(whole == "0" || len(whole) <= 3 && !threes(after)) {
		l.s = "." + after // a decimal comma
	}
	raw := whole
	places, repeating := "", ""
	if strings.HasPrefix(l.s, ".") {
		n := 1
		for n < len(l.s) && digit(l.s[n]) {
			n++
		}
		r, rest, ok := repeated(l.s[n:])
		if n > 1 || ok {
			places = l.s[1:n]
			raw += l.s[:n]
			l.s = l.s[n:]
			if ok {
				repeating, l.s = r, rest
				raw += "(" + r + ")"
			} else if n == 1 {
				raw = whole
			}
		}
	}
	exp, n := 0, 0
	if repeating == "" {
		exp, n = exponent(l.s)
		raw, l.s = raw+l.s[:n], l.s[n:]
	}
	l.emit(numberToken, raw)
	if exp > -maxPlaces && exp < maxPlaces {
		l.out[len(l.out)-1].num = decimal(whole, places, repeating, exp)
	}
}

// exponent reads the e4 of 1.5e4; n is its length.
func exponent(s string) (exp, n int) {
	if len(s) < 2 || s[0] != 'e' && s[0] != 'E' {
		return 0, 0
	}
	i, sign := 1, 1
	if s[1] == '-' || s[1] == '+' {
		i = 2
		if s[1] == '-' {
			sign = -1
		}
	}
	start := i
	for i < len(s) && digit(s[i]) {
		exp = min(exp*10+int(s[i]-'0'), maxPlaces)
		i++
	}
	if i == start || i < len(s) && letter(s[i]) {
		return 0, 0
	}
	return sign * exp, i
}

// decimal is the value of whole.places(repeating)·10^exp.
func decimal(whole, places, repeating string, exp int) *big.Rat {
	pow := func(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }
	if places == "" && repeating == "" && exp == 0 && len(whole) > 0 && len(whole) < 18 {
		var n int64
		for _, c := range []byte(whole) {
			n = n*10 + int64(c-'0')
		}
		return new(big.Rat).SetInt64(n)
	}
	n, ok := new(big.Int).SetString("0"+whole+places, 10)
	if !ok {
		return nil
	}
	r := new(big.Rat).SetFrac(n, pow(len(places)))
	if repeating != "" { // 0.0…(r) = r / ((10^len − 1)·10^places)
		m, _ := new(big.Int).SetString(repeating, 10)
		d := pow(len(repeating))
		d.Sub(d, big.NewInt(1))
		r.Add(r, new(big.Rat).SetFrac(m, d.Mul(d, pow(len(places)))))
	}
	if exp >= 0 {
		return r.Mul(r, new(big.Rat).SetInt(pow(exp)))
	}
	return r.Quo(r, new(big.Rat).SetInt(pow(-exp)))
}

// dotted are repeating places with a dot over the first and the last.
var dotted = regexp.MustCompile(`^\\dot\{(\d)\}(\d*)\\dot\{(\d)\}`)

// repeated reads \overline{3}, \bar{3}, \dot{3}, \dot{1}4\dot{3} or (3) behind a decimal point.
func repeated(s string) (digits, rest string, ok bool) {
	if m := dotted.FindStringSubmatch(s); m != nil {
		return m[1] + m[2] + m[3], s[len(m[0]):], true
	}
	for _, open := range []string{`\overline{`, `\bar{`, `\dot{`, "("} {
		after, found := strings.CutPrefix(s, open)
		if !found {
			continue
		}
		n := 0
		for n < len(after) && digit(after[n]) {
			n++
		}
		shut := byte('}')
		if open == "(" {
			shut = ')'
		}
		if n > 0 && n < len(after) && after[n] == shut {
			return after[:n], after[n+1:], true
		}
	}
	return "", s, false
}

func repeats(s string) bool { _, _, ok := repeated(s); return ok }

// separators group digits by three. A comma does so only outside of brackets, where it cannot part the members of a tuple.
var separators = []string{",", "{,}", `,\!`, `\,`, `{\,}`, `\thinspace `, `\;`, `\:`, `\ `, "~", " "}

// underscored are groups of digits as Python writes them. One alone may be a base: 101_100.
var underscored = regexp.MustCompile(`^(_\d{3})+\b`)

// groups reads the digits of a whole number. Groups count only if all of them are groups: one to three digits, no zero first, then threes,
// parted alike.
func (l *lexer) groups() string {
	n := 0
	for n < len(l.s) && digit(l.s[n]) {
		n++
	}
	first, rest := l.s[:n], l.s[n:]
	l.s = rest
	if n == 0 || n > 3 || first[0] == '0' {
		return first
	}
	if python := underscored.FindString(rest); python != "" && (strings.Count(python, "_") > 1 || strings.HasSuffix(python, "_000")) {
		l.s = rest[len(python):]
		return first + strings.ReplaceAll(python, "_", "")
	}
	for _, sep := range separators {
		if sep == "," && (l.brackets > 0 || !l.space && len(l.out) > 0 && l.out[len(l.out)-1].is(",")) {
			continue
		}
		all, r := first, rest
		for strings.HasPrefix(r, sep) && threes(r[len(sep):]) {
			all, r = all+r[len(sep):len(sep)+3], r[len(sep)+3:]
		}
		switch {
		case len(all) == n:
		case sep == "," && len(r) > 1 && r[0] == ',' && digit(r[1]): // 1,234,5 is a list
		case sep == " " && strings.HasPrefix(strings.TrimLeft(r, " "), "/"): // 3 125/1000 is a mixed number
		default:
			l.s = r
			return all
		}
	}
	return first
}

// threes reports whether s begins with three digits and no fourth.
func threes(s string) bool {
	return len(s) >= 3 && digit(s[0]) && digit(s[1]) && digit(s[2]) && (len(s) == 3 || !digit(s[3]))
}
