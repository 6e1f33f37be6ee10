package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"retool/engine/atomicfile"
	"retool/engine/model"
	"retool/engine/safetensors"
	"retool/kernels"
)

// deviceFlags are on the commands that run a model without a configuration.
func deviceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "device", Value: "cpu", Usage: "where to compute: cpu, gpu, emu"},
		&cli.StringFlag{Name: "variant", Usage: "`KERNELS` of the device: avx512bf16, avx512, avx2, go; sm80, sm90a"},
		&cli.StringFlag{Name: "dtype", Value: "auto", Usage: "the model in memory: float32, bfloat16; auto: config.json's, on a GPU bfloat16"},
		countFlag("threads", 0, 0, maxThreads, "threads of the CPU; 0 takes all"),
	}
}

// flaggedDevice opens the device that deviceFlags name.
func flaggedDevice(c *cli.Context) (kernels.Device, error) {
	d := c.String("device")
	if err := checkDType(d, c.String("dtype")); err != nil {
		return nil, fmt.Errorf("--%w", err)
	}
	dev, err := openDevice(d, c.String("variant"), c.Int("threads"))
	if err != nil {
		err = fmt.Errorf("--device %q: %w", d, err)
	}
	return dev, err
}

func scoreCommand() *cli.Command {
	return &cli.Command{
		Name:  "score",
		Usage: "log-probabilities, entropies, logits and gradients of texts, conversations or token ids under a model folder",
		Description: "Each line of --in is an object with `ids`, `text` or `messages`; --text and --messages are one such row. Each line of\n" +
			"--out has the row's `ids`, and for every token `logprobs` (given the tokens before it) and `entropy` (of the distribution\n" +
			"it was drawn from), in nats; null for the first, and for what is no finite number; of a text or messages also `pieces`.\n" +
			"Without a flag that says where figures go, those of --text or --messages are printed. --loss prints {\"loss\": …}: the\n" +
			"mean cross-entropy of all predicted tokens of all rows. --gradients stores its gradient by every parameter.",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "model", Required: true, Usage: "`DIR` with config.json and safetensors"},
			&cli.StringFlag{Name: "in", Usage: "rows to score, `FILE`.jsonl"},
		}, textFlags("one row"), []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "where log-probabilities and entropies go, `FILE`.jsonl"},
			&cli.StringFlag{Name: "logits", Usage: "where logits go, `FILE`.safetensors: logits.0, logits.1, … (tokens, vocabulary)"},
			&cli.BoolFlag{Name: "loss", Usage: "print the mean cross-entropy"},
			&cli.StringFlag{Name: "gradients", Usage: "where the loss's gradients go, `FILE`.safetensors; implies --loss"},
		}, deviceFlags()),
		Action: score,
	}
}

func score(c *cli.Context) error {
	out, logits, gradients := c.String("out"), c.String("logits"), c.String("gradients")
	loss := c.Bool("loss") || gradients != ""
	typed := c.IsSet("text") || c.IsSet("messages")
	if typed == c.IsSet("in") {
		return errors.New("score: want one of --in, --text and --messages: what to score")
	}
	if out == "" && logits == "" && !loss && !typed {
		return errors.New("score: nothing to do: give --out, --logits, --loss or --gradients")
	}
	if err := unusedFlags(c, "out", "logits", "gradients"); err != nil {
		return err
	}
	cfg, err := readModelConfig(c.String("model"))
	if err != nil {
		return err
	}
	if !cfg.LMHead {
		return fmt.Errorf("score: %s is a critic: it has no language-model head", c.String("model"))
	}
	sayAltered(c.String("model"))
	rows, err := flaggedRows(c, cfg)
	if err != nil {
		return err
	}
	longest := 0
	for _, row := range rows {
		longest = max(longest, len(row.ids))
	}
	// Longer rows than the model was made for are the caller's choice; the rotary table has no end.
	opt := model.Options{
		DType: dtypeOf(c.String("device"), c.String("dtype"), cfg), MaxTokens: longest, Positions: longest, Train: gradients != "",
	}
	if err := modelFits(c, cfg, opt, 0); err != nil {
		return fmt.Errorf("score: rows of up to %d tokens: %w", longest, err)
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
	s := newRowScorer(m, longest)
	if out == "" && logits == "" && !loss {
		return s.writeRows(c.App.Writer, rows)
	}
	if out != "" {
		err := atomicfile.Write(out, func(w io.Writer) error { return s.writeRows(w, rows) })
		if err != nil {
			return fmt.Errorf("score: write %s: %w", out, err)
		}
	}
	if logits != "" {
		if err := s.writeLogits(logits, rows); err != nil {
			return err
		}
	}
	if !loss {
		return nil
	}
	mean, err := s.loss(rows, gradients != "")
	if err != nil {
		return err
	}
	if gradients != "" {
		if err := m.SaveGradients(gradients); err != nil {
			return err
		}
	}
	return printLine(c.App.Writer, map[string]float64{"loss": mean})
}

// rowScorer scores rows of tokens, one in a pass.
type rowScorer struct {
	*model.Scorer
	m     *model.Model
	dev   kernels.Device
	dlogp kernels.Tensor // (R), R being the tokens of the longest row
}

func newRowScorer(m *model.Model, longest int) *rowScorer {
	dev := m.Device()
	return &rowScorer{Scorer: model.NewScorer(dev, longest), m: m, dev: dev, dlogp: dev.Alloc(kernels.F32, longest)}
}

// inputs packs the tokens of a row that predict another.
func (s *rowScorer) inputs(ids []int32) model.Inputs {
	s.Load(ids[1:])
	return allRows(ids[:len(ids)-1])
}

// allRows packs one sequence, every token of which reaches the head.
func allRows(ids []int32) model.Inputs {
	in := model.Inputs{IDs: ids, Starts: []int32{0, int32(len(ids))}, Rows: make([]int32, len(ids))}
	for i := range in.Rows {
		in.Rows[i] = int32(i)
	}
	return in
}

// read scores what a head holds, at the temperature that the model was trained at.
func (s *rowScorer) read(h model.Head) { s.Score(h, 1) }

// scored is one line of --out.
type scored struct {
	IDs      []int32    `json:"ids"`
	Pieces   []string   `json:"pieces,omitzero"`
	LogProbs []*float32 `json:"logprobs"` // of ids[i] given those before; null for the first
	Entropy  []*float32 `json:"entropy"`  // of the distribution that ids[i] is one draw of
}

func (s *rowScorer) writeRows(w io.Writer, rows []scoreRow) error {
	b := bufio.NewWriter(w)
	bar, finish := meterOn(os.Stderr, "score", "rows")
	defer finish()
	for i, row := range rows {
		bar.set(int64(i), int64(len(rows)))
		ids := row.ids
		line := scored{IDs: ids, Pieces: row.pieces, LogProbs: make([]*float32, len(ids)), Entropy: make([]*float32, len(ids))}
		if len(ids) > 1 {
			if err := s.m.Score(s.inputs(ids), s.read); err != nil {
				return fmt.Errorf("row %d: %w", i, err)
			}
			logProbs, entropies := s.LogProbs(), s.Entropies()
			for j := range logProbs {
				line.LogProbs[j+1], line.Entropy[j+1] = &logProbs[j], &entropies[j]
			}
		}
		if err := printLine(b, line); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
	}
	return b.Flush()
}

// writeLogits stores the logits after every token of every row, one row in memory at a time.
func (s *rowScorer) writeLogits(path string, rows []scoreRow) error {
	vocab := s.m.Config.Vocab
	var buf []float32
	list := make([]safetensors.Named, len(rows))
	for i, row := range rows {
		ids := row.ids
		list[i] = safetensors.Named{Name: fmt.Sprintf("logits.%d", i), Shape: []int{len(ids), vocab}, Data: func() ([]float32, error) {
			if n := len(ids) * vocab; cap(buf) < n {
				buf = make([]float32, n)
			}
			buf = buf[:len(ids)*vocab]
			err := s.m.Score(allRows(ids), func(h model.Head) { s.dev.Download(buf[h.From*vocab:h.To*vocab], h.Logits) })
			return buf, err
		}}
	}
	return safetensors.Write(path, list, nil)
}

// loss is the mean cross-entropy of all predicted tokens; with backward, its gradient is added to the model's.
func (s *rowScorer) loss(rows []scoreRow, backward bool) (float64, error) {
	tokens := 0
	for _, row := range rows {
		tokens += len(row.ids) - 1
	}
	if tokens == 0 {
		return 0, errors.New("score: no row has a token to predict: a loss needs a row of two tokens")
	}
	dlogp := make([]float32, s.dlogp.Len())
	for i := range dlogp {
		dlogp[i] = -1 / float32(tokens)
	}
	s.dev.Upload(s.dlogp, dlogp)
	sum := 0.0
	bar, finish := meterOn(os.Stderr, "loss", "rows")
	defer finish()
	for i, row := range rows {
		bar.set(int64(i), int64(len(rows)))
		ids := row.ids
		if len(ids) < 2 {
			continue
		}
		in := s.inputs(ids)
		var err error
		if backward {
			err = s.m.Train(in, func(h model.Head) {
				s.read(h)
				s.Backward(h, s.dlogp, kernels.Tensor{}, 1)
			})
		} else {
			err = s.m.Score(in, s.read)
		}
		if err != nil {
			return 0, fmt.Errorf("score: row %d: %w", i, err)
		}
		for _, lp := range s.LogProbs() {
			sum -= float64(lp)
		}
	}
	return sum / float64(tokens), nil
}
