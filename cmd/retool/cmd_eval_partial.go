package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"retool/cmd/retool/filelock"
	"retool/engine/atomicfile"
	"retool/trainer"
	"retool/trainer/trace"
)

// partTrajectories is how many trajectories of an evaluation with --out are sampled before they are stored.
const partTrajectories = 256

// evaluationKey is everything that the trajectories of an evaluation depend on: those of two with one key are the same.
type evaluationKey struct {
	Weights   string            `json:"weights"`
	Written   time.Time         `json:"written"` // the last of the weights' files
	Contract  string            `json:"contract"`
	Protocol  string            `json:"protocol"`
	Tokenizer string            `json:"tokenizer"`
	Data      map[string]string `json:"data"`
	Settings  string            `json:"settings"`
}

func (p *program) evaluationKey(weights string, data map[string]string) (key evaluationKey, err error) {
	if key.Weights, err = filepath.Abs(weights); err != nil {
		return key, err
	}
	files, err := filepath.Glob(filepath.Join(key.Weights, "*.safetensors"))
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && info.ModTime().After(key.Written) {
			key.Written = info.ModTime().UTC()
		}
	}
	cfg := p.cfg.located()
	text, textErr := cfg.text()
	key.Contract, key.Protocol, key.Tokenizer, key.Data, key.Settings = p.contract(), p.proto.Contract(), p.tok.Hash(), data, string(text)
	return key, errors.Join(err, textErr)
}

// differs is the first thing in which two evaluations do, one side each; empty: in nothing.
func (k evaluationKey) differs(other evaluationKey) (here, there string) {
	a, b := reflect.ValueOf(k), reflect.ValueOf(other)
	for i := range a.NumField() - 1 {
		if x, y := a.Field(i).Interface(), b.Field(i).Interface(); !reflect.DeepEqual(x, y) {
			name := strings.ToLower(a.Type().Field(i).Name)
			return fmt.Sprintf("%s %v", name, x), fmt.Sprintf("%s %v", name, y)
		}
	}
	mine, others := strings.Split(k.Settings, "\n"), strings.Split(other.Settings, "\n")
	for i, line := range mine {
		switch {
		case i >= len(others):
			return strings.TrimSpace(line), "nothing"
		case line != others[i]:
			return strings.TrimSpace(line), strings.TrimSpace(others[i])
		}
	}
	return "", ""
}

// partialEvaluation is the file in which the trajectories of an evaluation with --out stand until all are there: a line of its key, then
// a record each, in their order. An evaluation that is killed goes on behind the last problem whose samples are all in it.
type partialEvaluation struct {
	path   string // of the file that will be
	file   *os.File
	out    *bufio.Writer
	body   int64          // where records begin
	before []trace.Record // those it began with
}

// partialEvaluation opens the file of an evaluation to out, on the first rank, and tells all ranks how many problems it is ahead; nil
// without out, and on the others.
func (p *program) partialEvaluation(
	out, weights string, data map[string]string, v *trainer.Evaluator,
) (part *partialEvaluation, err error) {
	if out == "" {
		return nil, nil
	}
	done, err := p.ranks.agreeOn("evaluation so far", func() (string, error) {
		key, err := p.evaluationKey(weights, data)
		if err == nil {
			part, err = openPartial(out, key, v.Eval.Samples)
		}
		if err != nil {
			return "", err
		}
		v.Before, v.Stored = part.before, part.stored
		return strconv.Itoa(len(part.before) / v.Eval.Samples), nil
	})
	if err == nil {
		v.Part = partTrajectories
		v.Done, err = strconv.Atoi(done)
	}
	return part, err
}

func partialPath(out string) string { return out + ".partial" }

// openPartial makes the file for an evaluation to out, or takes up what an earlier one of the same key left of whole problems.
func openPartial(out string, key evaluationKey, samples int) (*partialEvaluation, error) {
	path := partialPath(out)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("eval: --out: %w", err)
	}
	p := &partialEvaluation{path: out, file: file}
	if err := p.begin(key, samples); err != nil {
		return nil, fmt.Errorf("eval: --out: %s: %w", path, errors.Join(err, file.Close()))
	}
	return p, nil
}

func (p *partialEvaluation) begin(key evaluationKey, samples int) error {
	if free, err := filelock.Try(p.file); err != nil || !free {
		return errors.Join(err, errors.New("another evaluation is writing it"))
	}
	in := bufio.NewReaderSize(p.file, 1<<16)
	line, err := in.ReadBytes('\n')
	if err == io.EOF { // new, or killed while the key was written
		if line, err = trace.Marshal(key); err != nil {
			return err
		}
		line = append(line, '\n')
		p.body = int64(len(line))
		_, err = p.file.WriteAt(line, 0)
		return errors.Join(err, p.goOn(p.body))
	}
	var there evaluationKey
	if err != nil || json.Unmarshal(line, &there) != nil {
		return errors.Join(err, errors.New("not an evaluation that was interrupted: remove it, or name another file"))
	}
	if here, was := key.differs(there); here != was {
		return fmt.Errorf("begun by another evaluation, with %s where this one has %s: remove it, or name another file", was, here)
	}
	p.body = int64(len(line))
	whole, at := p.body, p.body
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			break // what is torn is sampled again
		}
		var r trace.Record
		if err == nil {
			err = trace.Unmarshal(line, &r)
		}
		if err != nil {
			return fmt.Errorf("trajectory %d: %w", len(p.before)+1, err)
		}
		p.before = append(p.before, r)
		if at += int64(len(line)); len(p.before)%samples == 0 {
			whole = at
		}
	}
	p.before = p.before[:len(p.before)/samples*samples]
	return p.goOn(whole)
}

// goOn cuts the file there and appends.
func (p *partialEvaluation) goOn(at int64) error {
	_, err := p.file.Seek(at, io.SeekStart)
	p.out = bufio.NewWriterSize(p.file, 1<<16)
	return errors.Join(p.file.Truncate(at), err)
}

// stored makes sure that what was added is on the disk.
func (p *partialEvaluation) stored() error { return errors.Join(p.out.Flush(), p.file.Sync()) }

// empty reports whether no trajectory is stored.
func (p *partialEvaluation) empty() bool {
	info, err := p.file.Stat()
	return err == nil && info.Size() <= p.body
}

// close leaves what is stored, and no file where nothing is. After finish it does nothing.
func (p *partialEvaluation) close() {
	if p.empty() {
		_ = os.Remove(partialPath(p.path))
	}
	_ = p.file.Close()
}

// finish makes of the file what --out names.
func (p *partialEvaluation) finish() error {
	if err := p.stored(); err != nil {
		return fmt.Errorf("eval: --out: %w", err)
	}
	if _, err := p.file.Seek(p.body, io.SeekStart); err != nil {
		return fmt.Errorf("eval: --out: %w", err)
	}
	err := atomicfile.Write(p.path, func(w io.Writer) error {
		_, err := io.Copy(w, p.file)
		return err
	})
	return errors.Join(err, p.file.Close(), os.Remove(partialPath(p.path)))
}
