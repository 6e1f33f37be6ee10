package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"retool/engine/tokenizer"
	"retool/trainer/arith"
	"retool/trainer/data"
)

func dataCommand() *cli.Command {
	common := func(more ...cli.Flag) []cli.Flag {
		return append([]cli.Flag{
			setFlag(),
			&cli.StringFlag{Name: "as", Usage: "read rows as `problems|traces`; default: traces where they hold responses"},
			countFlag("limit", 0, 0, mostCount, "look at the first `N` rows only; 0: all"),
			&cli.BoolFlag{Name: "json", Usage: "print the result as JSON"},
		}, more...)
	}
	tokenizer := &cli.StringFlag{Name: "tokenizer", Usage: "count tokens too: `FOLDER` with tokenizer.json"}
	cs := []*cli.Command{
		{
			Name: "inspect", Usage: "layout, columns, lengths and faults of a file of rows", ArgsUsage: "FILE",
			Description: "FILE is JSON Lines, a JSON array of objects, or Parquet. Columns are recognised, or named with --set\n" +
				"data.columns.question=… and the like.",
			Flags: common(tokenizer), Action: inspectData,
		},
		{
			Name: "convert", Usage: "write rows as JSON Lines of ours, or as messages", ArgsUsage: "SRC DST",
			Description: "Rows become what a run would read: templates of public sets off the questions, ground truths taken out of\n" +
				"solutions, calls and replies in one form. DST must not be there; it is written whole or not at all. Rows that cannot\n" +
				"be cut into calls and replies are left out and counted.",
			Flags: common(
				&cli.StringFlag{Name: "to", Value: "retool", Usage: "`retool|messages`: question, answer, segments; or messages with roles"},
				&cli.StringFlag{Name: "form", Usage: "`tags|hermes`: how calls are written; default: as protocol.name says, in messages as fields"},
			), Action: convertData,
		},
		{
			Name: "verify", Usage: "check every row; run the code of traces and compare what it prints", ArgsUsage: "FILE",
			Flags: common(tokenizer,
				&cli.BoolFlag{Name: "strict", Usage: "exit with code 1 when a row fails"},
				&cli.BoolFlag{Name: "no-run", Usage: "run no code"},
			), Action: verifyData,
		},
	}
	cs = append(cs, rewriteCommand())
	return &cli.Command{
		Name: "data", Usage: "inspect, convert and verify files of rows; rewrite solutions into traces with code", Subcommands: cs,
		HideHelpCommand: true,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("data: no command %q: want inspect, convert, verify or rewrite", c.Args().First())
			}
			return errors.New("data: want inspect FILE, convert SRC DST, verify FILE or rewrite IN OUT")
		},
	}
}

// A scan goes through the rows of one file as a run would, and counts.
type scan struct {
	*program
	set    fileSet
	source *dataFile
	traces bool
	tokens bool // the tokenizer is the model's
	limit  int
	form   data.Form
	rows   findings

	read, kept int
}

// newScan opens a file by the flags of a command.
func newScan(c *cli.Context, path string) (s *scan, err error) {
	s = &scan{limit: c.Int("limit")}
	// No model is opened; a configuration without a shape wants the folder of one.
	cfg, err := loadConfig("", append([]string{"model.path=."}, c.StringSlice("set")...))
	if err != nil {
		return nil, err
	}
	s.program, s.form = &program{cfg: cfg}, cfg.form()
	s.rows = findings{strict: cfg.Data.Check == "strict", verifier: cfg.Reward.Verifier}
	s.tokens = c.String("tokenizer") != ""
	var model folder
	if model.tok, err = tokenizerAt(c.String("tokenizer")); err != nil {
		return nil, err
	}
	if s.tokens {
		if err := model.read(c.String("tokenizer")); err != nil {
			return nil, err
		}
	}
	s.tok, model.ends = model.tok, []int32{max(model.tok.EOS(), 0)} // of the right length, whatever the model's is
	if s.proto, s.ends, err = protocolOf(cfg.Protocol, &model); err != nil {
		return nil, err
	}
	f, err := data.Open(path)
	if err != nil {
		return nil, err
	}
	s.source = &dataFile{file: f}
	s.set = fileSet{config: cfg, files: []*dataFile{s.source}}
	if err := s.recognise(c.String("as")); err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

// tokenizerAt is that of a model's folder, or the embedded task's.
func tokenizerAt(dir string) (tokenizer.Tokenizer, error) {
	if dir == "" {
		return tokenizer.Words(arith.Vocabulary())
	}
	return tokenizer.Open(dir)
}

// recognise decides whether the rows are problems or traces.
func (s *scan) recognise(as string) error {
	var err error
	switch as {
	case "":
		if _, err := s.set.recognise(s.source, true); err == nil {
			s.traces = true
			s.source.setting = "data.traces"
			return nil
		}
	case "traces":
		s.traces = true
	case "problems":
	default:
		return fmt.Errorf("data: --as %q: want problems or traces", as)
	}
	s.source.setting = map[bool]string{true: "data.traces", false: "data.problems"}[s.traces]
	_, err = s.set.recognise(s.source, s.traces)
	return err
}

// each calls problem or trace with every row that a run would take, prepared; fault with an error of one row. Any other error is the end.
func (s *scan) each(problem func(data.Problem) error, trace func(data.Trace) error, fault func(error) error) error {
	one := func(err error, prepared *data.Problem, take func() error) (bool, error) {
		if s.read++; err != nil {
			if _, row := data.Faulty(err); !row {
				return false, err
			}
			err = fault(err)
		} else {
			s.kept++
			s.cfg.tidy(s.source, prepared, &s.rows)
			err = take()
		}
		return err == nil && (s.limit == 0 || s.read < s.limit), err
	}
	finish := s.set.metered()
	defer finish()
	r := s.source.reader(s.form, &s.rows)
	if s.traces {
		for t, err := range r.Traces() {
			if more, err := one(err, &t.Problem, func() error { return trace(t) }); !more {
				return err
			}
		}
		return nil
	}
	for q, err := range r.Problems() {
		if more, err := one(err, &q, func() error { return problem(q) }); !more {
			return err
		}
	}
	return nil
}

// left counts a row that a run would leave out, or could not read.
func (s *scan) left(err error) error {
	reason, _ := data.Faulty(err)
	if reason == "" {
		reason = "rows that cannot be read"
	}
	s.rows.add(s.source.setting, reason, "%v", err)
	return nil
}

// counted is a finding as JSON.
type counted struct {
	Kind  string `json:"kind"`
	Count int    `json:"count"`
	First string `json:"first"`
}

// list are the faults, or the notes, of the rows.
func (f *findings) list(faults bool) []counted {
	out := []counted{}
	for _, k := range f.order {
		if k.fault == faults {
			out = append(out, counted{k.kind, f.count[k], f.first[k]})
		}
	}
	return out
}

// printFindings writes faults, then notes, a line each.
func printFindings(w io.Writer, f *findings) {
	for _, c := range f.list(true) {
		fmt.Fprintf(w, "fault     %s: %d, the first: %s\n", c.Kind, c.Count, c.First)
	}
	for _, c := range f.list(false) {
		fmt.Fprintf(w, "note      %s: %d, the first: %s\n", c.Kind, c.Count, c.First)
	}
}

// printJSON writes a value on lines of its own, indented.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
