package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"retool/engine"
	"retool/engine/model"
	"retool/engine/tokenizer"
	"retool/kernels"
	"retool/trainer"
)

// program is everything a command runs on, built from a Config. This file is the only wiring.
type program struct {
	cfg     *Config
	ranks   *ranks
	dev     kernels.Device
	tok     tokenizer.Tokenizer
	ends    []int32           // tokens at which a text ends; SFT teaches the first
	files   map[string][]byte // what stands in a model's folder beside weights and config.json
	policy  *model.Model
	critic  *model.Model
	ref     *model.Model
	proto   engine.Protocol
	sandbox *sandbox // nil without the tool
	engine  *engine.Engine
	memory  *budget // that evaluations and what else only samples are held to
	closer  []func()
	notes   []string // of what was read, for who trains
}

// use says what a program is built for.
type use struct {
	train      bool
	from       string // folder to read weights from: a checkpoint; "": model.path, or a new model
	concurrent int    // trajectories at a time, of all ranks
	ranks      *ranks // that this process is one of; nil: alone
	kvMemory   int    // MiB for KV pages where the configuration leaves it open; 0: the engine's choice
}

// build wires device, tokenizer, models, interpreter and engine.
func build(ctx context.Context, cfg *Config, u use) (*program, error) {
	p := &program{cfg: cfg, ranks: u.ranks}
	if p.ranks == nil {
		p.ranks = aloneRank(ctx)
	}
	if err := p.build(ctx, u); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *program) build(ctx context.Context, u use) (err error) {
	cfg := p.cfg
	if p.dev, err = openRankDevice(cfg.Device, cfg.Variant, p.ranks.threads(cfg.Threads), p.ranks.id); err != nil {
		return err
	}
	p.closer = append(p.closer, func() { p.dev.Close() })
	if err := p.ranks.moveTensors(p.dev, cfg); err != nil {
		return err
	}
	if g, ok := p.dev.(*kernels.GPU); ok && cfg.Faults {
		g.Synchronous()
	}
	from := u.from
	if from == "" {
		if from, err = cfg.Model.folder(); err != nil {
			return err
		}
	}
	f, err := cfg.folder(from)
	if err != nil {
		return err
	}
	if p.ranks.leads() {
		sayAltered(from)
	}
	mc := f.config
	p.tok, p.files = f.tok, f.files
	if p.proto, p.ends, err = protocolOf(cfg.Protocol, f); err != nil {
		return fmt.Errorf("%w%s", err, inFolder(from))
	}
	if cfg.Engine.MaxTokens > mc.MaxPositions {
		return fmt.Errorf("config: engine.max_tokens: %d is more than the %d positions of the model", cfg.Engine.MaxTokens, mc.MaxPositions)
	}
	var proto engine.Protocol
	var in engine.Interpreter
	if cfg.tools() {
		p.sandbox = openSandbox(ctx, p.ranks.interpreters(cfg.Interp))
		p.closer = append(p.closer, p.sandbox.Close)
		proto, in = p.proto, python{p.sandbox, cfg.Interp.Limits}
	}
	if err := p.models(mc, u.train, from); err != nil {
		return err
	}
	n := p.ranks.Size()
	bounds := cfg.Engine
	bounds.KVMemory = cmp.Or(bounds.KVMemory, u.kvMemory)
	if p.engine, err = engine.New(p.policy, bounds, p.tok, p.ends, proto, in, (u.concurrent+n-1)/n); err != nil {
		return err
	}
	if p.sandbox != nil && !u.train { // what trains begins without it
		_, err = p.sandbox.open()
	}
	return err
}

// Close releases everything, last built first.
func (p *program) Close() {
	for _, f := range slices.Backward(p.closer) {
		f()
	}
}

// contract is what fixes the bits of the policy's log-probabilities: the device's, for weights of its type.
func (p *program) contract() string {
	info := p.dev.Info()
	if p.policy.Options.DType == kernels.BF16 && info.BF16 != "" {
		return info.Contract + ", " + info.BF16
	}
	return info.Contract
}

// models makes those that the configuration asks for. The policy has the weights of the folder, or new ones; a critic begins as it.
func (p *program) models(shape model.Config, train bool, from string) error {
	for _, m := range p.cfg.models(shape, train, dtypeOf(p.cfg.Device, p.cfg.Model.DType, shape), p.ranks) {
		if m.name != policyModel {
			from = ""
		}
		m.share(p.policy)
		made, err := p.model(m.shape, m.options, from)
		if err != nil {
			return err
		}
		switch m.name {
		case policyModel:
			p.policy = made
			if err := p.adapter(); err != nil {
				return err
			}
		case criticModel:
			p.critic = made
			if err := made.CopyFrom(p.policy); err != nil {
				return err
			}
		case referenceModel:
			p.ref = made
		}
	}
	return nil
}

// adapter gives the policy's adapter its first values, where it has one.
func (p *program) adapter() error {
	p.policy.InitAdapter(p.cfg.Seed)
	if dir := p.cfg.Model.LoRA.Path; p.policy.Adapter != nil && dir != "" {
		_, dropout, err := model.ReadLoRA(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w; a checkpoint's adapter lies in its folder adapter/", err)
		}
		if err != nil {
			return err
		}
		if dropout > 0 {
			p.notes = append(p.notes, fmt.Sprintf("note      %s was trained with lora_dropout %g: it goes on without", dir, dropout))
		}
		if err := p.policy.ReadAdapter(dir); err != nil {
			return fmt.Errorf("model.lora.path %s beside %s: %w", dir, cmp.Or(p.cfg.Model.Path, "a new model"), err)
		}
	}
	return nil
}

// model makes a model with weights: those of a folder, or new ones of the seed.
func (p *program) model(c model.Config, opt model.Options, from string) (m *model.Model, err error) {
	if from == "" {
		m, err = model.New(p.dev, c, opt)
	} else {
		load := loadModel
		if !p.ranks.leads() {
			load = model.Load
		}
		m, err = load(p.dev, from, c, opt)
	}
	if err != nil {
		return nil, err
	}
	p.closer = append(p.closer, m.Close)
	if from == "" && opt.Base == nil {
		m.Init(p.cfg.Seed)
	}
	return m, nil
}

// loadModel is model.Load, which shows how far it is.
func loadModel(dev kernels.Device, dir string, c model.Config, opt model.Options) (*model.Model, error) {
	bar, finish := meterOn(os.Stderr, "load", "parameters")
	defer finish()
	opt.Progress = bar.set
	return model.Load(dev, dir, c, opt)
}

// training joins a program to a run directory. notes are what its data are worth saying.
func (p *program) training(dir string, report trainer.Report) (run *trainer.Run, notes []string, err error) {
	read, err := p.data(true)
	if err != nil {
		return nil, nil, err
	}
	located := p.cfg.located()
	text, err := located.text()
	if err != nil {
		return nil, nil, err
	}
	base, err := located.Model.folder()
	if err != nil {
		return nil, nil, err
	}
	cfg := p.cfg.Config
	if cfg.SFT.Steps == 0 {
		cfg.SFT.Steps = (cfg.SFT.Epochs*len(read.Traces) + cfg.SFT.Batch - 1) / cfg.SFT.Batch
	}
	if cfg.RL.Horizon == 0 {
		cfg.RL.Horizon = p.cfg.Engine.MaxTokens
	}
	files := maps.Clone(p.files)
	files["config.yaml"] = text
	return &trainer.Run{
		Config: cfg, Dir: dir, Device: p.dev, Policy: p.policy, Critic: p.critic, Ref: p.ref, Base: base, Engine: p.engine,
		Comm: p.ranks.Comm, Leave: p.ranks.leave,
		Proto: p.proto, Tokens: p.tok, Data: read.Data, Hashes: read.hashes, Report: report,
		Files:    files,
		Contract: p.contract(), Protocol: p.proto.Contract(), Tokenizer: p.tok.Hash(),
	}, append(p.notes, read.notes...), nil
}
