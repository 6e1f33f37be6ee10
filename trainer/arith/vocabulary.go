package arith

import (
	"regexp"
	"slices"
	"strings"
)

// EndOfText is the special token that ends a response.
const EndOfText = "<eos>"

// protocolPieces are the tokens of responses and observations. None holds a digit, so that numbers are read and written digit by digit,
// and nothing follows </code> in any of them: that token must be the last that a sampled call consists of.
var protocolPieces = []string{
	codeOpen, codeClose, feedbackOpen, feedbackClose, answerOpen, answerClose,
	importGCD, importLCM, "print(", "pow(", "gcd(", "lcm(", ",-", "sum(range(", "))", "n=", "sum(d for d in range(", ",n+", ") if n%d==",
	"SyntaxError: ", "'(' was never closed", "unmatched ')'", "invalid syntax", "NameError: name '", "' is not defined", "gcd", "lcm",
	noInverse, "TypeError: ", "ZeroDivisionError: ", "IndentationError: ", "Timeout Error", "None",
	nextRemark, askInstead, giveUp, "?\n", ".\n",
}

// Vocabulary returns what a tokenizer for the task is made of: the pieces of ordinary text, which are newline, printable ASCII and
// phrases, and the special tokens. The order is fixed, the number of pieces below 200.
func Vocabulary() (pieces, specials []string) {
	pieces = append(pieces, "\n")
	for c := byte(' '); c <= '~'; c++ {
		pieces = append(pieces, string(rune(c)))
	}
	add := func(texts ...string) {
		for _, t := range texts {
			if t != "" && !slices.Contains(pieces, t) {
				pieces = append(pieces, t)
			}
		}
	}
	for _, l := range leads {
		add(l.text)
	}
	for _, f := range families {
		for _, wording := range f.wordings {
			fragments := operand.Split(wording, -1)
			if !sentence(wording) {
				add(fragments...)
				continue
			}
			last := len(fragments) - 1
			add(fragments[:last]...)
			add(fragments[last] + "\n") // the end of the prompt
		}
	}
	add(protocolPieces...)
	add(textLeads...)
	add(codeLeads...)
	for _, m := range mistakes {
		add(m.remark)
	}
	for _, p := range pieces {
		if i := strings.Index(p, "</code>"); i >= 0 && !strings.HasSuffix(p, "</code>") {
			panic("arith: piece " + p + " goes on after </code>")
		}
	}
	return pieces, []string{EndOfText}
}

// operand matches the place of an operand in a wording.
var operand = regexp.MustCompile(`\{\d\}`)
