package answer

import (
	"strings"
	"unicode/utf8"
)

// fold spells tokens so that answers which differ only in blanks, in case, in variants of commands and in braces around one thing
// are spelled alike. Letters that stand alone or in pairs of capitals keep their case: A is not a.
func fold(toks []token) string {
	var b strings.Builder
	for i := 0; i < len(toks); i++ {
		t := toks[i]
		if t.is("{") && i+2 < len(toks) && toks[i+2].is("}") {
			continue
		}
		if t.is("}") && i >= 2 && toks[i-2].is("{") {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		switch t.kind {
		case numberToken:
			if t.num != nil {
				b.WriteString(t.num.RatString())
			} else {
				b.WriteString(t.text)
			}
		case commandToken:
			b.WriteByte('\\')
			b.WriteString(t.text)
		case wordToken:
			b.WriteString(foldWord(t.text))
		default:
			b.WriteString(t.text)
		}
	}
	return b.String()
}

func foldWord(w string) string {
	lower := strings.ToLower(w)
	switch n := utf8.RuneCountInString(w); {
	case n == 1, n == 2 && lower != "no" && lower != "am" && lower != "pm" && upper(w):
		return w
	}
	return lower
}

// words reads an item of nothing but words, n tokens long. One letter is a symbol; a name such as pi is no word.
func (p *parser) words() (v *value, n int) {
	i, long := p.pos, false
	for ; i < len(p.toks) && !p.end(i); i++ {
		t := p.toks[i]
		if t.kind != wordToken {
			return nil, 0
		}
		if utf8.RuneCountInString(t.text) > 1 {
			long = true
		}
	}
	toks := p.toks[p.pos:i]
	if !long || p.at(i).kind == opToken && relations[p.at(i).text] {
		return nil, 0
	}
	if len(toks) == 1 && (functions[toks[0].text] || plainNames[toks[0].text] != "" || greek[toks[0].text]) {
		return nil, 0
	}
	v = &value{kind: wordsValue, text: fold(article(toks))}
	if allReals[v.text] {
		return reals(), len(toks)
	}
	if len(toks) == 1 && !toks[0].inText && len(toks[0].text) <= 3 { // xy may be a product
		q := &parser{toks: toks, al: p.al, sign: 1, bareEnd: -1}
		if x, err := q.term(); err == nil && q.pos == len(q.toks) && x.kind == exprValue && x.unit == "" {
			v.form = x.form
		}
	}
	return v, len(toks)
}

// allReals are words for the set ℝ.
var allReals = map[string]bool{"all real numbers": true, "all reals": true, "all real": true, "set of all real numbers": true,
	"set of real numbers": true}

// reals is (−∞, ∞), by whatever name.
func reals() *value {
	infinite := symbolConstant(infinity)
	return &value{kind: groupValue, text: "()", items: []*value{expr(infinite.neg()), expr(infinite)}}
}

// article drops a, an, the before a word.
func article(toks []token) []token {
	if len(toks) > 1 && toks[1].kind == wordToken && utf8.RuneCountInString(toks[1].text) > 1 {
		switch strings.ToLower(toks[0].text) {
		case "a", "an", "the":
			return toks[1:]
		}
	}
	return toks
}

// strip drops what announces an answer: "The answer is", "≈", "=", "option", and the full stop behind it.
func strip(toks []token) []token {
	word := func(i int, these ...string) bool {
		if i >= len(toks) || toks[i].kind != wordToken && toks[i].kind != opToken {
			return false
		}
		for _, w := range these {
			if strings.EqualFold(toks[i].text, w) {
				return true
			}
		}
		return false
	}
	toks = unbrace(toks)
	i := 0
	for word(i, "so", "thus", "therefore", "hence", "the", "final", "correct", "my", ",") {
		i++
	}
	if word(i, "answer", "ans", "result", "solution") {
		i++
		if word(i, "is", ":", "=", "equals", "are") {
			for i++; word(i, ":", "="); {
				i++
			}
			if i < len(toks) {
				toks = toks[i:]
			}
		}
	}
	if word(0, "option", "choice") && len(toks) > 1 && len(toks) < 5 && !word(1, "price") {
		letters := strings.Trim(fold(toks[1:]), "().: ")
		if utf8.RuneCountInString(letters) == 1 {
			toks = toks[1:]
		}
	}
	for len(toks) > 1 && word(0, "=", "≈", "approximately", "about", ":") {
		toks = toks[1:]
	}
	for len(toks) > 1 && (toks[len(toks)-1].is(".") || toks[len(toks)-1].is(",") || toks[len(toks)-1].is(";") || toks[len(toks)-1].is(`\\`)) {
		toks = toks[:len(toks)-1]
	}
	// C. and C) are the choice C
	if n := len(toks); n == 2 && toks[1].is(")") && toks[0].kind == wordToken && utf8.RuneCountInString(toks[0].text) == 1 {
		toks = toks[:1]
	}
	return toks
}

// unbrace takes off braces around all tokens. Those of {} stay.
func unbrace(toks []token) []token {
	for len(toks) > 2 && toks[0].is("{") && toks[len(toks)-1].is("}") {
		depth := 0
		for i, t := range toks {
			if t.is("{") {
				depth++
			} else if t.is("}") {
				depth--
			}
			if depth == 0 && i < len(toks)-1 {
				return toks
			}
		}
		toks = toks[1 : len(toks)-1]
	}
	return toks
}

// wrapped lists what may surround an answer and is no part of it.
var wrapped = [][2]string{{"$$", "$$"}, {"$", "$"}, {`\(`, `\)`}, {`\[`, `\]`}, {`"`, `"`}, {"'", "'"}, {"“", "”"}, {"‘",
	"’"}, {"`", "`"}, {"**", "**"}, {"__", "__"}, {"*", "*"}}

// peel takes off what surrounds an answer, also one around another.
func peel(s string) string {
	for range 16 {
		before := s
		s = strings.TrimSpace(s)
		for _, box := range []string{`\boxed`, `\fbox`} {
			if rest, ok := strings.CutPrefix(s, box); ok {
				if inner, ok := group(&rest); ok && strings.TrimSpace(rest) == "" {
					s = inner
				}
			}
		}
		for _, w := range wrapped {
			inner, ok := strings.CutPrefix(s, w[0])
			if !ok {
				continue
			}
			if inner, ok = strings.CutSuffix(inner, w[1]); ok && !strings.Contains(inner, w[0]) && !strings.Contains(inner, w[1]) {
				s = inner
				break
			}
		}
		if s == before {
			break
		}
	}
	return s
}
