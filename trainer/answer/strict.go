package answer

import (
	"regexp"
	"strings"
)

const (
	// Strict is [DAPOStrict] as a verifier: verl's published ReTool accuracies. It judges all that the policy wrote, its code included.
	Strict Verifier = "dapo-strict"
	// Lenient is Math, and where no box is right the last integer of the last line that holds anything, as the second score of the released
	// evaluation. That evaluation's own grader, symeval, is not reproduced.
	Lenient Verifier = "lenient"
)

// gradeStrict is DAPOStrict as an outcome.
func gradeStrict(text, truth string) Outcome {
	reward, _ := DAPOStrict(text, truth, true)
	_, boxed := dapoBox(last(text, 100))
	switch {
	case truth == "":
		return VerifierError // no response could be right
	case reward > 0:
		return Correct
	case !boxed:
		return NoAnswer
	}
	return Wrong
}

var wholeNumber = regexp.MustCompile(`[-+]?\d[\d,]*`)

// lastInteger is the last integer of a text's last line that is not blank: not the digits behind a decimal point.
func lastInteger(text string) (number string, ok bool) {
	text = strings.TrimSpace(text)
	line := text[strings.LastIndexByte(text, '\n')+1:]
	all := wholeNumber.FindAllStringIndex(line, -1)
	if len(all) == 0 {
		return "", false
	}
	from, to := all[len(all)-1][0], all[len(all)-1][1]
	if from > 1 && line[from-1] == '.' && line[from-2] >= '0' && line[from-2] <= '9' {
		return "", false
	}
	return strings.ReplaceAll(line[from:to], ",", ""), true
}

// gradeLenient is Math's outcome, or that of the last line's integer where Math's is wrong or none.
func gradeLenient(l limits, text, truth string) Outcome {
	first := Math.grade(l, text, truth)
	if first != Wrong && first != NoAnswer {
		return first
	}
	number, ok := lastInteger(text)
	if !ok {
		return first
	}
	w := l.begin()
	switch equal, gradeable := w.compare(Math, number, truth); {
	case w.err != nil || !gradeable:
		return VerifierError
	case equal:
		return Correct
	}
	return Wrong
}
