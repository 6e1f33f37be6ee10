package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"retool/engine"
	"retool/engine/model"
	"retool/kernels"
)

func generateCommand() *cli.Command {
	return &cli.Command{
		Name:  "generate",
		Usage: "continue a text, a conversation or token ids with a model folder",
		Description: "Prints one object: `ids`, the new tokens, the one that ended the text included, and `logprobs`, one for each: null for\n" +
			"what is no finite number. Of --text and --messages also `text`, what the new tokens spell, and `prompt_ids`. No code is\n" +
			"run: `retool chat` and `retool rollout` do that.",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "model", Required: true, Usage: "`DIR` with config.json and safetensors"},
			&cli.StringFlag{Name: "ids", Usage: "the prompt, a `LIST` such as 1,2,3"},
		}, textFlags("the prompt"), []cli.Flag{
			countFlag("max-tokens", 64, 1, 1<<24, "stop after so many"),
			&cli.BoolFlag{Name: "greedy", Usage: "always the likeliest token: the same as --temperature 0"},
			&cli.Float64Flag{Name: "temperature", Value: 1, Usage: "divides the logits"},
			&cli.Float64Flag{Name: "top-p", Value: 1, Usage: "draw from the likeliest tokens that together have this probability"},
			countFlag("top-k", 0, 0, 1<<28, "draw from so many likeliest tokens; 0: all"),
			&cli.Float64Flag{Name: "min-p", Usage: "draw from the tokens that have this share of the likeliest one's probability or more"},
			&cli.Uint64Flag{Name: "seed", Usage: "of the draws"},
			&cli.BoolFlag{Name: "ignore-eos", Usage: "do not stop where the folder says that a text ends"},
		}, deviceFlags()),
		Action: generate,
	}
}

func generate(c *cli.Context) error {
	sampling, err := flaggedSampling(c)
	if err != nil {
		return err
	}
	most := c.Int("max-tokens")
	cfg, err := readModelConfig(c.String("model"))
	if err != nil {
		return err
	}
	if !cfg.LMHead {
		return fmt.Errorf("generate: %s is a critic: it has no language-model head", c.String("model"))
	}
	sayAltered(c.String("model"))
	t, prompt, err := flaggedPrompt(c, cfg)
	if err != nil {
		return err
	}
	ends, err := flaggedEnds(c, cfg)
	if err != nil {
		return err
	}
	const slice = 512 // tokens of the prompt fed at a time
	length := len(prompt) + most
	opt := model.Options{
		DType: dtypeOf(c.String("device"), c.String("dtype"), cfg), MaxTokens: min(len(prompt), slice), Positions: length,
	}
	if err := modelFits(c, cfg, opt, kernels.PagesOf(length)); err != nil {
		return fmt.Errorf("generate: %d tokens of the prompt and --max-tokens %d: %w", len(prompt), most, err)
	}
	dev, err := flaggedDevice(c)
	if err != nil {
		return err
	}
	defer dev.Close()
	m, err := loadModel(dev, c.String("model"), cfg, opt)
	if err != nil {
		return err
	}
	defer m.Close()
	pages := make([]int32, kernels.PagesOf(length))
	for i := range pages {
		pages[i] = int32(i)
	}
	if err := m.OpenKV(len(pages)); err != nil {
		return err
	}

	out := continuation{IDs: []int32{}, LogProbs: []float32{}}
	bar, finish := meterOn(os.Stderr, "prefill", "tokens")
	defer finish()
	tokens := prompt
	begun := time.Now()
	var decoding time.Time // since the first token was drawn
	for cached := 0; len(out.IDs) < most; {
		if err := c.Context.Err(); err != nil {
			return err
		}
		if cached < len(prompt) {
			bar.of("prefill", "tokens", int64(cached), int64(len(prompt)))
		} else {
			bar.of("generate", "tokens", int64(len(out.IDs)), int64(most))
		}
		n := min(len(tokens)-cached, slice)
		draw := cached+n == len(tokens)
		next, logp, err := m.Step([]model.Feed{{IDs: tokens[cached : cached+n], Pos: cached, Pages: pages, Draw: draw}}, sampling)
		if err != nil {
			return err
		}
		cached += n
		if !draw {
			continue
		}
		if decoding.IsZero() {
			decoding = time.Now()
		}
		tokens = append(tokens, next[0])
		out.IDs, out.LogProbs = append(out.IDs, next[0]), append(out.LogProbs, logp[0])
		if slices.Contains(ends, next[0]) {
			break
		}
	}
	finish()
	fmt.Fprintln(os.Stderr, rateText(len(prompt), decoding.Sub(begun), len(out.IDs)-1, time.Since(decoding)))
	if t != nil {
		out.Prompt, out.Text = prompt, strings.ToValidUTF8(t.tok.Decode(out.IDs), "\uFFFD")
	}
	return printLine(c.App.Writer, out)
}

// rateText says how fast a prompt was read, and the tokens after the first were drawn: the first comes with the prompt.
func rateText(prompt int, prefill time.Duration, drawn int, decode time.Duration) string {
	text := fmt.Sprintf("generate: prompt of %d tokens in %.3g s (%.4g tok/s)", prompt, prefill.Seconds(), float64(prompt)/prefill.Seconds())
	if drawn > 0 {
		text += fmt.Sprintf(", then %d tokens in %.3g s (%.4g tok/s)", drawn, decode.Seconds(), float64(drawn)/decode.Seconds())
	}
	return text
}

// continuation is what generate prints.
type continuation struct {
	Prompt   []int32   `json:"prompt_ids,omitzero"`
	Text     string    `json:"text,omitzero"`
	IDs      []int32   `json:"ids"`
	LogProbs []float32 `json:"logprobs"`
}

// flaggedPrompt is the prompt that a command gives. t is what encoded it; nil: it came as ids.
func flaggedPrompt(c *cli.Context, cfg model.Config) (t *texts, prompt []int32, err error) {
	text, messages, found, err := flaggedText(c)
	switch {
	case err != nil:
		return nil, nil, err
	case found == c.IsSet("ids"):
		return nil, nil, errors.New("generate: want one of --text, --messages and --ids, the prompt")
	case !found:
		if prompt, err = parseIDs(c.String("ids"), cfg.Vocab); err != nil {
			err = fmt.Errorf("generate: --ids: %w", err)
		}
		return nil, prompt, err
	}
	if t, err = openTexts(c.String("model"), false); err != nil {
		return nil, nil, err
	}
	_, prompt, err = t.idsOf(text, messages, true)
	if err == nil && len(prompt) == 0 {
		err = errors.New("the prompt is empty")
	}
	if err == nil && t.tok.Size() > cfg.Vocab {
		err = fmt.Errorf("tokenizer.json has %d ids, the embedding %d rows", t.tok.Size(), cfg.Vocab)
	}
	if err != nil {
		err = fmt.Errorf("generate: %w", err)
	}
	return t, prompt, err
}

// flaggedEnds are the ids to stop at. A folder without a tokenizer has those of its configs.
func flaggedEnds(c *cli.Context, cfg model.Config) ([]int32, error) {
	if c.Bool("ignore-eos") {
		return nil, nil
	}
	dir := c.String("model")
	if !hasTokenizer(dir) {
		return cfg.EOS, nil
	}
	f, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	if !c.IsSet("messages") {
		return f.ends, nil
	}
	chat, err := f.chat(engine.ProtocolConfig{Chat: "auto"})
	return chat.Ends(f.ends), err
}

// flaggedSampling checks the flags of a draw.
func flaggedSampling(c *cli.Context) (kernels.Sampling, error) {
	s := kernels.Sampling{
		Seed: c.Uint64("seed"), Temperature: float32(c.Float64("temperature")), TopP: float32(c.Float64("top-p")), TopK: c.Int("top-k"),
		MinP: float32(c.Float64("min-p")),
	}
	if c.Bool("greedy") {
		if c.IsSet("temperature") && s.Temperature != 0 {
			return s, errors.New("generate: --greedy is temperature 0: give one of --greedy and --temperature")
		}
		s.Temperature = 0
	}
	switch {
	case !(s.Temperature >= 0):
		return s, fmt.Errorf("generate: --temperature: want 0 (greedy) or more, got %g", s.Temperature)
	case !(s.TopP > 0 && s.TopP <= 1):
		return s, fmt.Errorf("generate: --top-p: want more than 0 and at most 1, got %g", s.TopP)
	case !(s.MinP >= 0 && s.MinP <= 1):
		return s, fmt.Errorf("generate: --min-p: want 0 to 1, got %g", s.MinP)
	}
	return s, nil
}
