package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

func tokenizeCommand() *cli.Command {
	return &cli.Command{
		Name: "tokenize", Usage: "ids and pieces of a text or a conversation, or the text of ids", ArgsUsage: "[TEXT]",
		Description: "Takes a text from its argument or from standard input, as a model's folder would have it in a rollout: what the\n" +
			"tokenizer puts before a text comes first, and no special token comes of the text itself, unless --special says so. Shows\n" +
			"each token with its id, which of them are special, and whether they decode to the text again.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "model", Required: true, Usage: "`DIR` with tokenizer.json; a chat template is taken from there too"},
			&cli.StringFlag{Name: "messages", Usage: `a conversation, which the chat template renders: a JSON list of {"role", "content"}, a ` +
				"`FILE` of one, or - for standard input"},
			&cli.BoolFlag{Name: "generate", Usage: "with --messages: begin the assistant's next turn"},
			&cli.BoolFlag{Name: "tools", Usage: "with --messages: offer the code interpreter"},
			&cli.StringFlag{Name: "ids", Usage: "the other way: the text of a `LIST` of ids, such as 1,2,3"},
			&cli.BoolFlag{Name: "special", Usage: "names of special tokens in the text become those tokens"},
			&cli.BoolFlag{Name: "bare", Usage: "without what the tokenizer puts before a text"},
			&cli.BoolFlag{Name: "count", Usage: "print the number of tokens alone"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
		},
		Action: tokenize,
	}
}

// tokenized is what tokenize prints as JSON.
type tokenized struct {
	Text      string   `json:"text"` // as it was encoded: messages rendered
	IDs       []int32  `json:"ids"`
	Pieces    []string `json:"pieces"`
	Special   []int    `json:"special"` // places of special tokens
	Count     int      `json:"count"`
	RoundTrip bool     `json:"round_trip"` // the tokens, special ones by their names, are the text again
	Decoded   string   `json:"decoded,omitzero"`
}

func tokenize(c *cli.Context) error {
	if err := checkTokenize(c); err != nil {
		return err
	}
	t, err := openTexts(c.String("model"), c.Bool("tools"))
	if err != nil {
		return err
	}
	sayAltered(c.String("model"))
	text, ids, err := tokenizeInput(c, t)
	if err != nil {
		return fmt.Errorf("tokenize: %w", err)
	}
	if c.Bool("count") {
		_, err := fmt.Fprintln(c.App.Writer, len(ids))
		return err
	}
	out := tokenized{Text: text, IDs: ids, Pieces: t.pieces(ids), Special: []int{}, Count: len(ids)}
	for i, id := range ids {
		if t.special(id) {
			out.Special = append(out.Special, i)
		}
	}
	decoded := t.written(ids)
	if c.IsSet("ids") {
		out.Text = decoded
	}
	if out.RoundTrip = decoded == out.Text; !out.RoundTrip {
		out.Decoded = strings.ToValidUTF8(decoded, "\uFFFD")
	}
	if c.Bool("json") {
		out.Text = strings.ToValidUTF8(out.Text, "\uFFFD")
		return printLine(c.App.Writer, out)
	}
	return printTokens(c.App.Writer, t, out)
}

// checkTokenize refuses flags that do nothing beside others.
func checkTokenize(c *cli.Context) error {
	switch {
	case c.IsSet("messages") && (c.Args().Present() || c.IsSet("ids")), c.IsSet("ids") && c.Args().Present():
		return errors.New("tokenize: a text, --messages and --ids exclude each other")
	case !c.IsSet("messages") && (c.Bool("generate") || c.Bool("tools")):
		return errors.New("tokenize: --generate and --tools go with --messages")
	case (c.IsSet("messages") || c.IsSet("ids")) && (c.Bool("special") || c.Bool("bare")):
		return errors.New("tokenize: --special and --bare go with a text")
	case c.Bool("count") && c.Bool("json"):
		return errors.New("tokenize: --json holds the count: give one of --count and --json")
	}
	return nil
}

// tokenizeInput is the text and the tokens that a command asks about.
func tokenizeInput(c *cli.Context, t *texts) (text string, ids []int32, err error) {
	switch {
	case c.IsSet("ids"):
		if ids, err = parseIDs(c.String("ids"), t.tok.Size()); err != nil {
			return "", nil, fmt.Errorf("--ids: %w", err)
		}
		return "", ids, nil
	case c.IsSet("messages"):
		list, err := flaggedMessages(c.App.Reader, c.String("messages"))
		if err != nil {
			return "", nil, fmt.Errorf("--messages: %w", err)
		}
		return t.messages(list, c.Bool("tools"), c.Bool("generate"))
	case c.Args().Present():
		text = c.Args().First()
	default:
		read, err := io.ReadAll(c.App.Reader)
		if err != nil {
			return "", nil, fmt.Errorf("standard input: %w", err)
		}
		text = string(read)
	}
	if c.Bool("special") {
		ids = t.tok.EncodeTemplate(text)
	} else {
		ids = t.tok.Encode(text)
	}
	if bos := t.tok.BOS(); !c.Bool("bare") && len(bos) > 0 {
		text, ids = t.written(bos)+text, slices.Concat(bos, ids)
	}
	return text, ids, nil
}

// written is what tokens spell, special ones by their names.
func (t *texts) written(ids []int32) string {
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(t.tok.Name(id))
	}
	return b.String()
}

// printTokens prints a line for each token, and what they come to.
func printTokens(w io.Writer, t *texts, out tokenized) error {
	var b strings.Builder
	width := len(fmt.Sprint(t.tok.Size() - 1))
	for i, id := range out.IDs {
		piece := fmt.Sprintf("%q", t.tok.Name(id))
		if t.special(id) {
			piece = out.Pieces[i] + "  special"
		} else if added, ok := t.tok.Special(t.tok.Name(id)); ok && added == id {
			piece += "  added"
		}
		fmt.Fprintf(&b, "%*d  %s\n", width, id, piece)
	}
	fmt.Fprintf(&b, "%d tokens, %d special, %d bytes", out.Count, len(out.Special), len(out.Text))
	if out.RoundTrip {
		b.WriteString("; they decode to the text again\n")
	} else {
		decoded := t.written(out.IDs)
		at := differAt(out.Text, decoded)
		fmt.Fprintf(&b, "; they decode to another text, from byte %d on: %.40q where there was %.40q\n", at, decoded[at:], out.Text[at:])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// differAt is the first byte at which two texts differ, or where the shorter ends.
func differAt(a, b string) int {
	at := 0
	for at < min(len(a), len(b)) && a[at] == b[at] {
		at++
	}
	return at
}
