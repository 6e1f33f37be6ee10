package main

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"retool/engine"
	"retool/trainer/answer"
	"retool/trainer/data"
)

// findings count what is worth saying of rows, by setting and kind, each kind with its first example. Faults are refused under
// data.check: strict; notes are not.
type findings struct {
	strict   bool
	verifier answer.Verifier
	order    []finding
	count    map[finding]int
	first    map[finding]string
	hear     func(k finding, example string) // of each, as it comes; may be nil
	traces   map[[16]byte]string             // whole trace → id
	asked    map[string]map[[16]byte]string  // setting → question → id; questions by their hash: there may be millions
}

type finding struct {
	setting, kind string
	fault         bool
}

// add counts a fault; format and args are its example.
func (f *findings) add(setting, kind, format string, args ...any) {
	f.put(finding{setting, kind, true}, fmt.Sprintf(format, args...))
}

// note counts what is no fault.
func (f *findings) note(setting, kind, format string, args ...any) {
	f.put(finding{setting, kind, false}, fmt.Sprintf(format, args...))
}

func (f *findings) put(k finding, example string) {
	if f.count == nil {
		f.count, f.first = map[finding]int{}, map[finding]string{}
	}
	if f.hear != nil {
		f.hear(k, example)
	}
	if f.count[k]++; f.count[k] == 1 {
		f.order, f.first[k] = append(f.order, k), example
	}
}

// text is a finding in one sentence.
func (f *findings) text(k finding) string {
	return fmt.Sprintf("%s: %s: %d, the first: %s", k.setting, k.kind, f.count[k], f.first[k])
}

// result is a sentence for each kind; under data.check: strict, the first fault is an error.
func (f *findings) result() (notes []string, err error) {
	for _, k := range f.order {
		if f.strict && k.fault {
			return nil, fmt.Errorf("%s (data.check: strict)", f.text(k))
		}
		notes = append(notes, "note      "+f.text(k))
	}
	return notes, nil
}

// key is a question with its white space made equal, hashed.
func key(question string) [16]byte { return hashed(strings.Join(strings.Fields(question), " ")) }

func hashed(text string) [16]byte {
	sum := sha256.Sum256([]byte(text))
	return [16]byte(sum[:16])
}

// problem looks at the ground truth and at the question, which may have been asked before. It reports whether it is a repetition.
func (f *findings) problem(setting string, q *data.Problem) (repeated bool) {
	switch {
	case f.verifier.Check(q.Answer) != nil:
		f.add(setting, "ground truths that the verifier cannot grade", "problem %s: %.60q", q.ID, q.Answer)
	case answer.LooksLikeSolution(q.Answer):
		f.add(setting, "ground truths that look like whole solutions", "problem %s: %.60q", q.ID, q.Answer)
	}
	before, repeated := f.ask(setting, q)
	if repeated {
		f.add(setting, "questions asked before", "problem %s repeats %s", q.ID, before)
	}
	return repeated
}

// ask remembers a question of a setting, by the first id that asked it.
func (f *findings) ask(setting string, q *data.Problem) (before string, repeated bool) {
	if f.asked == nil {
		f.asked = map[string]map[[16]byte]string{}
	}
	if f.asked[setting] == nil {
		f.asked[setting] = map[[16]byte]string{}
	}
	k := key(q.Question)
	if before, repeated = f.asked[setting][k]; !repeated {
		f.asked[setting][k] = q.ID
	}
	return before, repeated
}

// repeated looks for a trace that was there before, word for word.
func (f *findings) repeated(t data.Trace) {
	if f.traces == nil {
		f.traces = map[[16]byte]string{}
	}
	text := t.Problem.Question
	for _, s := range t.Segments {
		text += "\x00" + s.Text
	}
	k := hashed(text)
	if before, again := f.traces[k]; again {
		f.add("data.traces", "duplicate traces", "trace %s is %s again", t.Problem.ID, before)
		return
	}
	f.traces[k] = t.Problem.ID
}

// overlap looks for questions of the training that are in the test.
func (f *findings) overlap(test []data.Problem) {
	for _, q := range test {
		for _, trained := range []string{"data.problems", "data.traces"} {
			if id, ok := f.asked[trained][key(q.Question)]; ok {
				f.add("data.test", "questions that are trained on", "problem %s is %s of %s", q.ID, id, trained)
				break
			}
		}
	}
}

// trace looks for what no rollout of the protocol would leave, and for an answer that is not the row's.
func (f *findings) trace(proto engine.Protocol, tools bool, t data.Trace) {
	f.ask("data.traces", &t.Problem)
	f.repeated(t)
	var policy strings.Builder
	call := ""
	for i, s := range t.Segments {
		fault := ""
		switch {
		case s.Source == data.Policy:
			policy.WriteString(s.Text)
			call, fault = s.Text, proto.TextFault(s.Text)
			if fault == "" && tools && (i+1 == len(t.Segments) || t.Segments[i+1].Source == data.Policy) && calls(proto, call) {
				fault = "policy segments with a call that no tool segment answers"
			}
		case !tools:
			fault = "tool segments, where protocol.name is none"
		default:
			fault = proto.ReplyFault(call, s.Text)
		}
		if fault != "" {
			f.add("data.traces", fault, "trace %s, segment %d: %.60q", t.Problem.ID, i+1, s.Text)
		}
	}
	truth := t.Problem.Answer
	if truth == "" {
		f.note("data.traces", "rows without a ground truth, their answers are not checked", "trace %s", t.Problem.ID)
		return
	}
	said := proto.OutsideCode(policy.String())
	if g := f.verifier.Grade(said, truth); g != answer.Correct {
		found, _ := f.verifier.Box(said)
		f.add("data.traces", "responses whose boxed answer is not the row's",
			"trace %s: answer %q, truth %.60q: %v", t.Problem.ID, found, truth, g)
	}
}

// calls reports whether a turn asks for code, by what stands in it or by its end.
func calls(proto engine.Protocol, turn string) bool {
	_, within := proto.Call([]byte(turn), len(turn), false)
	_, ended := proto.Call([]byte(turn), len(turn), true)
	return within || ended
}
