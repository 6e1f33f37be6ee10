package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"retool/engine/model"
	"retool/kernels"
)

func generateCommand() *cli.Command {
	return &cli.Command{
		Name:      "generate",
		Usage:     "continue token ids with a model folder",
		ArgsUsage: " ",
		Description: "Prints one object: `ids`, the new tokens, the one that ended the text included, and `logprobs`, one for each: null for\n" +
			"what is no finite number.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "model", Required: true, Usage: "`DIR` with config.json and safetensors"},
			&cli.StringFlag{Name: "ids", Required: true, Usage: "the prompt, a JSON `LIST` such as '[1,2,3]'"},
			&cli.IntFlag{Name: "max-tokens", Value: 64, Usage: "stop after so many"},
			&cli.BoolFlag{Name: "greedy", Usage: "always the likeliest token: the same as --temperature 0"},
			&cli.Float64Flag{Name: "temperature", Value: 1, Usage: "divides the logits"},
			&cli.Float64Flag{Name: "top-p", Value: 1, Usage: "draw from the likeliest tokens that together have this probability"},
			&cli.IntFlag{Name: "top-k", Usage: "draw from so many likeliest tokens; 0: all"},
			&cli.Uint64Flag{Name: "seed", Usage: "of the draws"},
			&cli.BoolFlag{Name: "ignore-eos", Usage: "do not stop where the folder says that a text ends"},
		}, deviceFlags()...),
		Action: generate,
	}
}

func generate(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("generate takes flags only, got %q", c.Args().First())
	}
	sampling, err := flaggedSampling(c)
	if err != nil {
		return err
	}
	most := c.Int("max-tokens")
	if most < 1 {
		return fmt.Errorf("generate: --max-tokens %d must be at least 1", most)
	}
	cfg, err := model.ReadConfig(c.String("model"))
	if err != nil {
		return err
	}
	if !cfg.LMHead {
		return fmt.Errorf("generate: %s is a critic: it has no language-model head", c.String("model"))
	}
	var list []int64
	if err := json.Unmarshal([]byte(c.String("ids")), &list); err != nil {
		return fmt.Errorf("generate: --ids %q is not a JSON list of integers: %w", c.String("ids"), err)
	}
	prompt, err := checkedIDs(list, cfg.Vocab)
	if err != nil {
		return fmt.Errorf("generate: --ids: %w", err)
	}
	ends, err := flaggedEnds(c, cfg)
	if err != nil {
		return err
	}
	dev, err := flaggedDevice(c)
	if err != nil {
		return err
	}
	defer dev.Close()
	const slice = 512 // tokens of the prompt fed at a time
	length := len(prompt) + most
	m, err := model.Load(dev, c.String("model"), cfg, model.Options{
		DType: dtypeOf(c.String("device"), c.String("dtype"), cfg), MaxTokens: min(len(prompt), slice), Positions: length,
	})
	if err != nil {
		return err
	}
	defer m.Close()
	pages := make([]int32, (length+kernels.PageTokens-1)/kernels.PageTokens)
	for i := range pages {
		pages[i] = int32(i)
	}
	if err := m.OpenKV(len(pages)); err != nil {
		return err
	}

	out := struct {
		IDs      []int32   `json:"ids"`
		LogProbs []float32 `json:"logprobs"`
	}{IDs: []int32{}, LogProbs: []float32{}}
	tokens := prompt
	for cached := 0; len(out.IDs) < most; {
		if err := c.Context.Err(); err != nil {
			return err
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
		tokens = append(tokens, next[0])
		out.IDs, out.LogProbs = append(out.IDs, next[0]), append(out.LogProbs, logp[0])
		if slices.Contains(ends, next[0]) {
			break
		}
	}
	return printLine(c.App.Writer, out)
}

// flaggedEnds are the ids to stop at. A folder without a tokenizer has those of its configs.
func flaggedEnds(c *cli.Context, cfg model.Config) ([]int32, error) {
	if c.Bool("ignore-eos") {
		return nil, nil
	}
	dir := c.String("model")
	if _, err := os.Stat(filepath.Join(dir, tokenizerFile)); errors.Is(err, fs.ErrNotExist) {
		return cfg.EOS, nil
	}
	f, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	return f.ends, nil
}

// flaggedSampling checks the flags of a draw.
func flaggedSampling(c *cli.Context) (kernels.Sampling, error) {
	s := kernels.Sampling{
		Seed: c.Uint64("seed"), Temperature: float32(c.Float64("temperature")), TopP: float32(c.Float64("top-p")), TopK: c.Int("top-k"),
	}
	if c.Bool("greedy") {
		if c.IsSet("temperature") && s.Temperature != 0 {
			return s, errors.New("generate: --greedy is temperature 0: give one of --greedy and --temperature")
		}
		s.Temperature = 0
	}
	switch {
	case !(s.Temperature >= 0):
		return s, fmt.Errorf("generate: --temperature %g must not be negative", s.Temperature)
	case !(s.TopP > 0 && s.TopP <= 1):
		return s, fmt.Errorf("generate: --top-p %g must be above 0 and at most 1", s.TopP)
	case s.TopK < 0:
		return s, fmt.Errorf("generate: --top-k %d must not be negative", s.TopK)
	}
	return s, nil
}
