package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"retool/trainer/data"
)

// lengths are those of one part of all rows.
type lengths struct {
	sizes   []int32
	longest []longRow
}

type longRow struct {
	ID     string `json:"id"`
	Length int    `json:"length"`
}

const longestNamed = 3

func (l *lengths) add(id string, n int) {
	l.sizes = append(l.sizes, int32(n))
	at := len(l.longest)
	for at > 0 && l.longest[at-1].Length < n {
		at--
	}
	if at < longestNamed {
		l.longest = slices.Insert(l.longest, at, longRow{id, n})
		l.longest = l.longest[:min(len(l.longest), longestNamed)]
	}
}

// A spread is how the lengths of one part of the rows are distributed.
type spread struct {
	Part    string    `json:"part"`
	Unit    string    `json:"unit"`
	Mean    float64   `json:"mean"`
	P50     int       `json:"p50"`
	P95     int       `json:"p95"`
	Longest []longRow `json:"longest"`
}

// spread takes percentiles by the nearest rank.
func (l *lengths) spread(part, unit string) spread {
	slices.Sort(l.sizes)
	sum, n := 0.0, len(l.sizes)
	for _, s := range l.sizes {
		sum += float64(s)
	}
	rank := func(percent int) int { return int(l.sizes[max(0, (percent*n+99)/100-1)]) }
	return spread{part, unit, sum / float64(n), rank(50), rank(95), l.longest}
}

// measured are the lengths of the parts of rows, in the order in which the parts came.
type measured struct {
	order []struct{ part, unit string }
	by    map[string]*lengths
}

func (m *measured) add(part, unit, id string, n int) {
	if m.by == nil {
		m.by = map[string]*lengths{}
	}
	l := m.by[part+unit]
	if l == nil {
		l = &lengths{}
		m.by[part+unit] = l
		m.order = append(m.order, struct{ part, unit string }{part, unit})
	}
	l.add(id, n)
}

func (m *measured) spreads() []spread {
	out := []spread{}
	for _, p := range m.order {
		out = append(out, m.by[p.part+p.unit].spread(p.part, p.unit))
	}
	return out
}

// An inspection is what retool data inspect prints.
type inspection struct {
	File     string    `json:"file"`
	Format   string    `json:"format"`
	SHA256   string    `json:"sha256"`
	Layout   string    `json:"layout"`
	As       string    `json:"as"` // problems or traces
	Columns  []string  `json:"columns"`
	Rows     int       `json:"rows"`
	Usable   int       `json:"usable"`
	Calls    int       `json:"calls,omitempty"`
	Repeated int       `json:"repeated_questions"`
	Lengths  []spread  `json:"lengths"`
	Faults   []counted `json:"faults"`
	Notes    []counted `json:"notes"`
}

func inspectData(c *cli.Context) error {
	s, err := newScan(c, c.Args().First())
	if err != nil {
		return err
	}
	defer s.set.close()
	var sizes measured
	calls, repeated := 0, 0
	question := func(q data.Problem) error {
		sizes.add("question", "characters", q.ID, utf8.RuneCountInString(q.Question))
		if q.Answer != "" {
			sizes.add("answer", "characters", q.ID, utf8.RuneCountInString(q.Answer))
		}
		if !s.tokens {
			return nil
		}
		n, err := s.promptTokens(q)
		sizes.add("prompt", "tokens", q.ID, n)
		return err
	}
	err = s.each(func(q data.Problem) error {
		if s.rows.problem(s.source.setting, &q) {
			repeated++
		}
		return question(q)
	}, func(t data.Trace) error {
		if _, again := s.rows.ask("data.traces", &t.Problem); again {
			repeated++
		}
		s.rows.trace(s.proto, s.cfg.tools(), t)
		if err := question(t.Problem); err != nil {
			return err
		}
		n := 0
		for _, seg := range t.Segments {
			n += utf8.RuneCountInString(seg.Text)
			if seg.Source == data.Tool {
				calls++
			}
		}
		sizes.add("response", "characters", t.Problem.ID, n)
		return s.traceTokens(t, &sizes)
	}, s.left)
	if err != nil {
		return err
	}
	sum, err := s.source.file.Hash()
	if err != nil {
		return err
	}
	if _, err := s.rows.result(); err != nil { // data.check: strict
		return err
	}
	f := s.source.file
	return s.print(c, inspection{
		f.Path, f.Format, sum, s.source.layout.String(), strings.TrimPrefix(s.source.setting, "data."), f.Columns(),
		s.read, s.kept, calls, repeated, sizes.spreads(), s.rows.list(true), s.rows.list(false),
	})
}

// promptTokens is the length of a rendered prompt; one over the budget is counted.
func (s *scan) promptTokens(q data.Problem) (int, error) {
	ids, err := s.proto.Prompt(q.Question)
	if err != nil {
		return 0, fmt.Errorf("problem %s: %w", q.ID, err)
	}
	if len(ids) > s.promptLimit() && !s.traces {
		s.rows.add(s.source.setting, "rows over the budget of engine.max_prompt and engine.max_tokens",
			"problem %s: its prompt has %d tokens, they leave %d", q.ID, len(ids), s.promptLimit())
	}
	return len(ids), nil
}

// traceTokens is the length of a whole trajectory; one over the budget is counted.
func (s *scan) traceTokens(t data.Trace, sizes *measured) error {
	if !s.tokens {
		return nil
	}
	e, err := s.example(0, t)
	if err != nil {
		return err
	}
	if e.Len() > s.traceLimit() {
		s.rows.add(s.source.setting, "rows over the budget of sft.tokens and engine.max_tokens",
			"trace %s: %d tokens, they allow %d", t.Problem.ID, e.Len(), s.traceLimit())
	}
	if sizes != nil {
		sizes.add("prompt and response", "tokens", t.Problem.ID, e.Len())
	}
	return nil
}

func (s *scan) print(c *cli.Context, r inspection) error {
	w := c.App.Writer
	if c.Bool("json") {
		return printJSON(w, r)
	}
	fmt.Fprintf(w, "file      %s, %s, SHA-256 %.16s…\n", r.File, r.Format, r.SHA256)
	fmt.Fprintf(w, "layout    %s\ncolumns   %s\n", r.Layout, strings.Join(r.Columns, ", "))
	first := ""
	if s.limit > 0 && r.Rows == s.limit {
		first = " looked at (--limit)"
	}
	fmt.Fprintf(w, "rows      %d%s, %d usable as %s, %d repeat a question", r.Rows, first, r.Usable, r.As, r.Repeated)
	if s.traces {
		fmt.Fprintf(w, ", %d calls", r.Calls)
	}
	fmt.Fprintln(w)
	printSpreads(w, r.Lengths)
	printFindings(w, &s.rows)
	return nil
}

func printSpreads(w io.Writer, all []spread) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(w, "%-31s %10s %8s %8s   longest rows\n", "lengths", "mean", "p50", "p95")
	for _, l := range all {
		var rows []string
		for _, r := range l.Longest {
			rows = append(rows, fmt.Sprintf("%s (%d)", r.ID, r.Length))
		}
		fmt.Fprintf(w, "  %-29s %10.1f %8d %8d   %s\n", l.Part+", "+l.Unit, l.Mean, l.P50, l.P95, strings.Join(rows, ", "))
	}
}
