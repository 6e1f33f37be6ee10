package answer

import (
	"math"
	"regexp"
	"unicode/utf8"
)

// DAPOStrict is the reward of verl's DAPO recipes: +1 or −1. text is the decoded response without special tokens; here code and
// observations are part of it. Windows are counted in characters.
//
// With strict, the answer is what the last box that begins within the last 100 characters holds, and must be the ground truth to the
// character: nothing is trimmed or normalised.
//
// Without, it is the rest of the line after the last "Answer:" of the last 300 characters, any case, normalised like the ground truth;
// only where there is none, the strict rule decides.
//
// extracted is the answer that was compared, "" if there was none.
func DAPOStrict(text, truth string, strict bool) (reward float64, extracted string) {
	text = last(text, 300)
	if !strict {
		if all := answerLine.FindAllStringSubmatch(text, -1); all != nil {
			w := defaultLimits.begin()
			extracted = w.normalise(all[len(all)-1][1])
			return sign(extracted == w.normalise(truth)), extracted
		}
	}
	extracted, ok := dapoBox(last(text, 100))
	return sign(ok && extracted == truth), extracted
}

// answerLine is (?i)Answer\s*:\s*([^\n]+) as Python reads it: there, \s is white space of all scripts.
var answerLine = regexp.MustCompile(`(?i)Answer` + space + `*:` + space + `*([^\n]+)`)

const space = `[\s\v\x1c-\x1f\x{85}\p{Z}]`

// last returns the last n characters of s.
func last(s string, n int) string {
	i := len(s)
	for ; n > 0 && i > 0; n-- {
		_, size := utf8.DecodeLastRuneInString(s[:i])
		i -= size
	}
	return s[i:]
}

func sign(right bool) float64 {
	if right {
		return 1
	}
	return -1
}

// ToolShaped lifts a wrong answer's reward by the use of tools:
//
//	s < 0:  min(−0.6, s + (n−2)/2 · 0.1)
//
// s is [DAPOStrict]'s reward. n is [Turns] in verl's recipe, and the number of tool calls in slime and OpenClaw-RL, where a wrong answer
// without any call is therefore −1.1.
func ToolShaped(s float64, n int) float64 {
	if s >= 0 {
		return s
	}
	return math.Min(-0.6, s+float64(n-2)/2*0.1)
}

// Turns is verl's num_turns: observations, assistant turns, and one for the prompt. It is 2 for a response without a call.
func Turns(observations, assistant int) int { return observations + assistant + 1 }
