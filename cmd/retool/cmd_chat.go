package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"retool/engine"
	"retool/trainer"
)

func chatCommand() *cli.Command {
	return &cli.Command{
		Name: "chat", Usage: "talk with a model that runs Python as in a rollout", ArgsUsage: "[RECIPE|FILE.yaml]",
		Description: "On a terminal, a line is a message; /new begins another conversation, ^D or ^C ends. Otherwise each line of standard\n" +
			"input is a message, or with --whole all of it. The first message goes into protocol.template, and the model's code runs in\n" +
			"the sandbox, by the code of rollouts. Weights without a configuration beside them have the paper's. Without a chat\n" +
			"template there are no turns: each message is a conversation of its own.",
		Flags: []cli.Flag{
			fromFlag(), setFlag(),
			&cli.BoolFlag{Name: "greedy", Usage: "take the likeliest token instead of sampling as eval.temperature and eval.top_p say"},
			&cli.BoolFlag{Name: "whole", Usage: "all of standard input is one message"},
			&cli.StringFlag{Name: "out", Usage: "write messages, tokens and executions to a `FILE.json`, whole after each turn"},
		},
		Action: func(c *cli.Context) error {
			if err := unusedFlags(c, "out"); err != nil {
				return err
			}
			l, p, err := loadedProgram(c, nil, func(cfg *Config) (int, error) {
				cfg.Engine.MaxPrompt = 0 // what was said before is part of a prompt here
				return 1, nil
			})
			if err != nil {
				if c.Context.Err() != nil {
					return nil // ^C before the first message
				}
				return err
			}
			defer p.Close()
			t, err := newTalk(p, l.from, c.App.Writer, c.App.ErrWriter)
			if err != nil {
				return err
			}
			t.out = c.String("out")
			if c.Bool("greedy") {
				t.sampling.Temperature = 0
			}
			return t.run(c.Context, c.App.Reader, c.Bool("whole"))
		},
	}
}

// A talk is one session of chat.
type talk struct {
	p        *program
	chat     *engine.Chat // nil: no turns
	sampling engine.Sampling
	view     *viewer
	notes    io.Writer
	out      string // file of the transcript
	tokens   []int32
	turns    int // of the session, which key the draws
	script   transcript
}

// transcript is what --out holds.
type transcript struct {
	From          string          `json:"from"`
	Protocol      string          `json:"protocol"`
	Sampling      string          `json:"sampling"`
	Conversations [][]chatMessage `json:"conversations"`
}

// A chatMessage is one turn as it was said, its tokens with their provenance.
type chatMessage struct {
	Role    string     `json:"role"`
	Content string     `json:"content"`
	Finish  string     `json:"finish,omitzero"`
	IDs     []int32    `json:"ids"`
	Sources string     `json:"sources,omitzero"` // one letter a token: m model, t tool
	Calls   []chatCall `json:"calls,omitzero"`
}

type chatCall struct {
	Code      string  `json:"code"`
	Status    string  `json:"status"`
	Stdout    string  `json:"stdout,omitzero"`
	Traceback string  `json:"traceback,omitzero"`
	Seconds   float64 `json:"seconds"`
}

func newTalk(p *program, from string, out, notes io.Writer) (*talk, error) {
	chat, err := (&folder{tok: p.tok, files: p.files}).chat(p.cfg.Protocol)
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, inFolder(from))
	}
	e := p.cfg.Eval
	t := &talk{p: p, chat: chat, notes: notes, view: newViewer(p.tok), sampling: engine.Sampling{
		Seed: p.cfg.Seed, Temperature: float32(e.Temperature), TopP: float32(e.TopP), TopK: e.TopK, MinP: float32(e.MinP),
	}}
	t.view.out = out
	t.script = transcript{From: from, Protocol: p.proto.Contract(), Conversations: [][]chatMessage{{}}}
	p.engine.Watch = t.view.grown
	return t, nil
}

// run takes messages until there are no more, or ctx ends.
func (t *talk) run(ctx context.Context, in io.Reader, whole bool) error {
	t.script.Sampling = fmt.Sprintf("temperature %g, top-p %g, top-k %d, seed %d", t.sampling.Temperature, t.sampling.TopP, t.sampling.TopK,
		t.sampling.Seed)
	f, _ := in.(*os.File)
	typed := f != nil && isTerminal(f)
	if typed {
		fmt.Fprintf(t.notes, "%s; %s\n", t.p.modelLine(), t.p.proto.Contract())
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	messages := make(chan message)
	ready := make(chan struct{}, 1) // one message is read at a time
	go readMessages(ctx, in, whole, ready, messages)
	for {
		if typed {
			fmt.Fprint(t.view.out, "> ")
		}
		ready <- struct{}{}
		var m message
		select {
		case m = <-messages:
		case <-ctx.Done():
			return t.interrupted()
		}
		switch {
		case errors.Is(m.err, io.EOF):
			if typed {
				fmt.Fprintln(t.view.out)
			}
			if t.turns == 0 && !typed {
				return errors.New("chat: standard input holds no message")
			}
			return nil
		case m.err != nil:
			return fmt.Errorf("chat: standard input: %w", m.err)
		case strings.TrimSpace(m.text) == "":
			continue
		case strings.TrimSpace(m.text) == "/new":
			t.begin()
			continue
		}
		err := t.say(ctx, m.text)
		switch {
		case err != nil && ctx.Err() != nil:
			return t.interrupted()
		case err != nil && typed && errors.Is(err, errFull):
			fmt.Fprintln(t.notes, err)
		case err != nil:
			return err
		}
	}
}

// interrupted ends a session as the user asked.
func (t *talk) interrupted() error {
	fmt.Fprintln(t.view.out)
	return nil
}

type message struct {
	text string
	err  error
}

// readMessages sends a line, or all, of in each time it is asked for one.
func readMessages(ctx context.Context, in io.Reader, whole bool, ready <-chan struct{}, out chan<- message) {
	lines := bufio.NewReader(in)
	for {
		select {
		case <-ready:
		case <-ctx.Done():
			return
		}
		var m message
		if whole {
			var text []byte
			text, m.err = io.ReadAll(lines)
			m.text = string(text)
		} else {
			m.text, m.err = lines.ReadString('\n')
		}
		m.text = strings.TrimSuffix(strings.TrimSuffix(m.text, "\n"), "\r")
		switch {
		case m.text != "" && errors.Is(m.err, io.EOF):
			m.err = nil
		case whole && m.text == "" && m.err == nil:
			m.err = io.EOF
		}
		select {
		case out <- m:
		case <-ctx.Done():
			return
		}
	}
}

// begin forgets the conversation.
func (t *talk) begin() {
	t.tokens = nil
	if n := len(t.script.Conversations); len(t.script.Conversations[n-1]) > 0 {
		t.script.Conversations = append(t.script.Conversations, []chatMessage{})
	}
}

// errFull is a conversation that has no room for another turn.
var errFull = errors.New("the conversation is as long as engine.max_tokens allows")

// prompt is what a message adds to the tokens.
func (t *talk) prompt(text string) ([]int32, error) {
	if t.chat == nil || len(t.tokens) == 0 {
		t.begin()
		return t.p.proto.Prompt(text)
	}
	var added []int32
	if last := t.tokens[len(t.tokens)-1]; !slices.Contains(t.p.ends, last) { // it was cut off
		added = append(added, t.chat.End())
	}
	next, err := t.chat.Next(text)
	return append(added, next...), err
}

// say adds a message and streams the model's answer to it.
func (t *talk) say(ctx context.Context, text string) error {
	added, err := t.prompt(text)
	if err != nil {
		return fmt.Errorf("chat: %w", err)
	}
	all := slices.Concat(t.tokens, added)
	if most := t.p.cfg.Engine.MaxTokens; len(all) >= most {
		return fmt.Errorf("chat: %d tokens with this message, at most %d: %w", len(all), most-1, errFull)
	}
	t.view.begin()
	start := time.Now()
	trs, err := t.p.engine.Rollouts(ctx, []engine.Group{{Prompt: all, Keys: []int64{trainer.Key(trainer.ShowKeys, t.turns, 0)}}}, t.sampling)
	t.view.flush()
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("chat: %w", err)
	}
	t.turns++
	tr := trs[0]
	t.tokens = t.tokens[:0]
	for _, k := range tr.Tokens() {
		t.tokens = append(t.tokens, k.ID)
	}
	fmt.Fprintln(t.view.out)
	fmt.Fprintln(t.notes, told(tr, time.Since(start)))
	return t.keep(text, added, tr)
}

// told is a line on a turn.
func told(tr *engine.Trajectory, took time.Duration) string {
	n := tr.Count(engine.Policy)
	line := fmt.Sprintf("― finish %s  %d tokens of %d, %.0f a second", tr.Finish, n, tr.Len(), float64(n)/max(took.Seconds(), 1e-9))
	for i, c := range tr.Calls {
		line += fmt.Sprintf("  call %d %s in %.1f ms", i+1, c.Result.Status, 1000*c.Wait.Seconds())
	}
	return line
}

// keep adds a turn to the transcript.
func (t *talk) keep(said string, added []int32, tr *engine.Trajectory) error {
	answer := chatMessage{Role: "assistant", Finish: tr.Finish.String()}
	var text, sources strings.Builder
	for _, k := range tr.Tokens()[tr.Prompt:] {
		answer.IDs = append(answer.IDs, k.ID)
		text.Write(t.p.tok.Bytes(k.ID))
		sources.WriteByte("pmt"[k.Source])
	}
	answer.Content, answer.Sources = strings.ToValidUTF8(text.String(), "\uFFFD"), sources.String()
	for _, c := range tr.Calls {
		answer.Calls = append(answer.Calls, chatCall{c.Code, c.Result.Status, c.Result.Stdout, c.Result.Traceback, c.Result.Wall.Seconds()})
	}
	last := &t.script.Conversations[len(t.script.Conversations)-1]
	*last = append(*last, chatMessage{Role: "user", Content: said, IDs: added}, answer)
	if t.out == "" {
		return nil
	}
	if err := writeJSON(t.out, t.script); err != nil {
		return fmt.Errorf("chat: --out: %w", err)
	}
	return nil
}
