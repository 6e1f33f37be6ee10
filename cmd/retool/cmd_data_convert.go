package main

import (
	"bufio"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"retool/engine/atomicfile"
	"retool/trainer/data"
)

// convertData writes the rows of one file to another, one at a time.
func convertData(c *cli.Context) error {
	to, form, dst := c.String("to"), c.String("form"), c.Args().Get(1)
	if to != "retool" && to != "messages" {
		return fmt.Errorf("data convert: --to %q: want retool or messages", to)
	}
	if form != "" && form != "tags" && form != "hermes" {
		return fmt.Errorf("data convert: --form %q: want tags or hermes", form)
	}
	if err := creatable(dst); err != nil {
		return fmt.Errorf("data convert: %w", err)
	}
	s, err := newScan(c, c.Args().First())
	if err != nil {
		return err
	}
	defer s.set.close()
	if form != "" {
		s.form = formOf(form, s.cfg.Protocol.Feedback)
	}
	err = atomicfile.Write(dst, func(w io.Writer) error {
		buf := bufio.NewWriterSize(w, 1<<20)
		leaveOut := func(err error) error { return s.source.leaveOut(err, &s.rows) }
		if err := s.each(s.problemWriter(buf, to), s.traceWriter(buf, to, form), leaveOut); err != nil {
			return err
		}
		if s.kept == 0 {
			return s.source.nothing(&s.rows)
		}
		if _, err := s.rows.result(); err != nil { // data.check: strict
			return err
		}
		return buf.Flush()
	})
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, struct {
			From   string    `json:"from"`
			To     string    `json:"to"`
			Layout string    `json:"layout"`
			Rows   int       `json:"rows"`
			Kept   int       `json:"written"`
			Faults []counted `json:"faults"`
			Notes  []counted `json:"notes"`
		}{c.Args().First(), dst, s.source.layout.String(), s.read, s.kept, s.rows.list(true), s.rows.list(false)})
	}
	fmt.Fprintf(c.App.Writer, "layout    %s\nwritten   %s, %d of %d rows\n", s.source.layout, dst, s.kept, s.read)
	printFindings(c.App.Writer, &s.rows)
	return nil
}

func (s *scan) problemWriter(w io.Writer, to string) func(data.Problem) error {
	return func(q data.Problem) error {
		s.rows.problem(s.source.setting, &q)
		if to == "messages" {
			return data.WriteConversations(w, q.Conversation())
		}
		return data.WriteProblems(w, q)
	}
}

// traceWriter writes traces with their segments; as messages with calls apart, or in tags as one message of the assistant.
func (s *scan) traceWriter(w io.Writer, to, form string) func(data.Trace) error {
	return func(t data.Trace) error {
		switch {
		case to == "retool":
			return data.WriteTraces(w, t)
		case form == "tags":
			return data.WriteConversations(w, t.Written())
		}
		talk, dropped, err := t.Conversation()
		if err != nil {
			return err
		}
		if dropped {
			s.rows.note(s.source.setting, "texts after </answer> left out", "trace %s", t.Problem.ID)
		}
		return data.WriteConversations(w, talk)
	}
}
