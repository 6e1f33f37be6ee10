package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"retool/engine"
	"retool/engine/jsonfile"
	"retool/trainer/answer"
)

func gradeCommand() *cli.Command {
	return &cli.Command{
		Name: "grade", Usage: "judge responses by both verifiers",
		Description: `Rows {"id", "text", "truth"}, one JSON object a line: text is a model's response, whose code and tool output do not
count; truth may be a number. For each, in order, one line {"id", "math", "dapo", "answer"}: the verdicts correct, wrong, no_answer
or verifier_error, and what the last box holds.`,
		Flags: []cli.Flag{&cli.StringFlag{Name: "jsonl", Usage: "the rows: a `FILE`, or - for standard input", Required: true}},
		Action: func(c *cli.Context) error {
			name, in := c.String("jsonl"), io.Reader(os.Stdin)
			if name == "-" {
				name = "standard input"
			} else {
				f, err := os.Open(name)
				if err != nil {
					return fmt.Errorf("grade: %w", err)
				}
				defer f.Close()
				in = f
			}
			return grade(name, in, c.App.Writer)
		},
	}
}

type gradeResult struct {
	ID     json.RawMessage `json:"id"`
	Math   string          `json:"math"`
	DAPO   string          `json:"dapo"`
	Answer string          `json:"answer"`
}

// grade reads rows, grades them on all cores and writes results in the order of the rows, each as soon as those before it are written.
func grade(name string, in io.Reader, out io.Writer) error {
	type job struct {
		line []byte
		n    int
		done chan struct{}
		out  []byte
		err  error
	}
	jobs := make(chan *job)
	pending := make(chan *job, 16*runtime.NumCPU()) // in the order of the rows
	stop := make(chan struct{})
	defer close(stop)
	var readErr error
	go func() {
		defer close(pending)
		defer close(jobs)
		readErr = eachRow(in, func(n int, line []byte) bool {
			j := &job{line: line, n: n, done: make(chan struct{})}
			for _, queue := range []chan *job{pending, jobs} {
				select {
				case queue <- j:
				case <-stop:
					return false
				}
			}
			return true
		})
	}()
	for range runtime.NumCPU() {
		go func() {
			for j := range jobs {
				j.out, j.err = gradeLine(j.line)
				close(j.done)
			}
		}()
	}
	w := bufio.NewWriter(out)
	for {
		if len(pending) == 0 { // before waiting for a row, those who read along see the results so far
			if err := w.Flush(); err != nil {
				return fmt.Errorf("grade: %w", err)
			}
		}
		j, more := <-pending
		if !more {
			break
		}
		<-j.done
		if j.err != nil {
			return errors.Join(w.Flush(), fmt.Errorf("grade: %s:%d: %w", name, j.n, j.err))
		}
		if _, err := w.Write(j.out); err != nil {
			return fmt.Errorf("grade: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("grade: %w", err)
	}
	if readErr != nil {
		return fmt.Errorf("grade: %s: %w", name, readErr)
	}
	return nil
}

// eachRow calls f with the lines that are not blank, counted from 1, until it returns false.
func eachRow(in io.Reader, f func(n int, line []byte) bool) error {
	r := textReader(in)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 && !f(n, line) {
			return nil
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// gradeRow reads the members of a row. A key that is given twice would leave open which of them counts.
func gradeRow(line []byte) (map[string]json.RawMessage, error) {
	const want = `want an object {"id", "text", "truth"}`
	var row map[string]json.RawMessage
	if !utf8.Valid(line) {
		return nil, errors.New(want + " in UTF-8, got bytes that are not")
	}
	if err := jsonfile.Unmarshal(line, &row); err != nil {
		return nil, fmt.Errorf(want+": %w", err)
	}
	if row == nil {
		return nil, errors.New(want + ", got null")
	}
	seen := map[string]bool{}
	dec := json.NewDecoder(bytes.NewReader(line))
	for _, err := dec.Token(); err == nil && dec.More(); { // the brace, then keys and values
		var key json.Token
		if key, err = dec.Token(); err != nil {
			return nil, fmt.Errorf(want+": %w", err)
		}
		name, _ := key.(string)
		if seen[name] {
			return nil, fmt.Errorf("%s, each once, got %q twice", want, name)
		}
		seen[name] = true
		var value json.RawMessage
		if err = dec.Decode(&value); err != nil {
			return nil, fmt.Errorf(want+": %w", err)
		}
	}
	return row, nil
}

func isNumber(value json.RawMessage) bool {
	return len(value) > 0 && (value[0] == '-' || value[0] >= '0' && value[0] <= '9')
}

// gradeLine is the result of one row, as a line of JSON.
func gradeLine(line []byte) ([]byte, error) {
	row, err := gradeRow(line)
	if err != nil {
		return nil, err
	}
	if row["id"] == nil {
		return nil, errors.New(`"id" is missing: want {"id", "text", "truth"}`)
	}
	var text, truth string
	for _, f := range []struct {
		key  string
		into *string
	}{{"text", &text}, {"truth", &truth}} {
		value := row[f.key]
		if f.key == "truth" && isNumber(value) {
			truth = string(value)
			continue
		}
		if value == nil || value[0] != '"' {
			return nil, fmt.Errorf(`%q: want a string, got %.40s`, f.key, cmp.Or(string(value), "nothing"))
		}
		if err := jsonfile.Unmarshal(value, f.into); err != nil {
			return nil, fmt.Errorf("%q: %w", f.key, err)
		}
	}
	said := engine.OutsideReplies(engine.OutsideCode(text))
	result := gradeResult{
		ID:   row["id"],
		Math: answer.Math.Grade(said, truth).String(),
		DAPO: answer.DAPO.Grade(said, truth).String(),
	}
	result.Answer, _ = answer.Math.Box(said)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err = enc.Encode(result)
	return b.Bytes(), err
}
