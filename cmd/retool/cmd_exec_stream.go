package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"retool/engine/jsonfile"
	"retool/interp"
)

// A job is a line of a stream that was read: it makes the line's answer. key is the line's number.
type job func(ctx context.Context, key int64) (any, error)

// fields reads one line of a stream, an object with an id and the named field, into value. where is the file and the line; want is what
// such a line looks like. Keys are exact; others than these two may stand there.
func fields(line []byte, where, want, name string, value any) (id json.RawMessage, err error) {
	if !utf8.Valid(line) {
		return nil, fmt.Errorf("exec: %s: want %s in UTF-8, got bytes that are not", where, want)
	}
	var all map[string]json.RawMessage
	if err := jsonfile.Unmarshal(line, &all); err != nil {
		return nil, fmt.Errorf("exec: %s: want %s: %w", where, want, err)
	}
	if text := all[name]; text == nil || string(text) == "null" {
		return nil, fmt.Errorf("exec: %s: want %s, found no %s", where, want, name)
	}
	if err := jsonfile.Unmarshal(all[name], value); err != nil {
		return nil, fmt.Errorf("exec: %s: want %s: %s: %w", where, want, name, err)
	}
	if id = all["id"]; id == nil {
		id = json.RawMessage("null")
	}
	return id, nil
}

// cellLine reads {"id", "cells"}: the cells share a session.
func (x executor) cellLine(line []byte, where string) (job, error) {
	var cells []*string
	id, err := fields(line, where, `{"id": …, "cells": ["…", …]}`, "cells", &cells)
	if err != nil {
		return nil, err
	}
	if i := slices.Index(cells, nil); i >= 0 {
		return nil, fmt.Errorf("exec: %s: cell %d: want text, got null", where, i+1)
	}
	return func(ctx context.Context, key int64) (any, error) {
		defer x.pool.Forget(key)
		reports := []cellReport{}
		for i, text := range cells {
			r, err := x.run(ctx, key, *text, i == len(cells)-1)
			var lost *interp.SandboxError
			switch {
			case errors.As(err, &lost): // ours, not the code's: no text
				reports = append(reports, cellReport{Status: "sandbox_error"})
			case err != nil:
				return nil, err
			default:
				reports = append(reports, x.report(r))
			}
		}
		return struct {
			ID    json.RawMessage `json:"id"`
			Cells []cellReport    `json:"cells"`
		}{id, reports}, nil
	}, nil
}

// turnLine reads {"id", "turn"}.
func (x executor) turnLine(line []byte, where string) (job, error) {
	var turn string
	id, err := fields(line, where, `{"id": …, "turn": "…"}`, "turn", &turn)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, key int64) (any, error) { return x.turn(ctx, key, id, turn) }, nil
}

// atOnce is how many lines are in work at a time; the pool bounds how many cells run.
const atOnce = 32

// stream runs lines side by side and writes the answers in the order of the lines. A line that cannot be read ends the stream: what was
// asked before it is answered, then the error names it.
func stream(ctx context.Context, in io.Reader, name string, out io.Writer, read func(line []byte, where string) (job, error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pending := make(chan chan []byte, 1024) // in the order of the lines
	room := make(chan struct{}, atOnce)
	written := make(chan struct{})
	go func() {
		defer close(written)
		for p := range pending {
			if b, ok := <-p; ok && context.Cause(ctx) == nil {
				if _, err := out.Write(b); err != nil {
					cancel(fmt.Errorf("exec: write: %w", err))
				}
			}
		}
	}()
	scan := bufio.NewScanner(in)
	scan.Buffer(nil, 64<<20)
	n := int64(0)
	var bad error
feed:
	for scan.Scan() {
		line := scan.Bytes()
		n++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		do, err := read(line, fmt.Sprintf("%s:%d", name, n))
		if err != nil {
			bad = err
			break
		}
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			break feed
		}
		p := make(chan []byte, 1)
		pending <- p
		go func(key int64) {
			defer func() { <-room }()
			defer close(p)
			answer, err := do(ctx, key)
			if err == nil {
				var b bytes.Buffer
				e := json.NewEncoder(&b)
				e.SetEscapeHTML(false)
				if err = e.Encode(answer); err == nil {
					p <- b.Bytes()
				}
			}
			if err != nil {
				cancel(err)
			}
		}(n)
	}
	if bad == nil && scan.Err() != nil {
		bad = fmt.Errorf("exec: %s:%d: %w", name, n+1, scan.Err())
	}
	close(pending)
	<-written
	if bad != nil {
		return bad
	}
	return context.Cause(ctx)
}
