package engine

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"retool/engine/model"
	"retool/kernels"
)

// Config bounds a rollout. Tokens are counted over prompt, policy and tool.
type Config struct {
	MaxTokens  int           `yaml:"max_tokens" doc:"of a trajectory: prompt, sampled and observed (paper: 16 384)"`
	MaxPrompt  int           `yaml:"max_prompt" doc:"of a prompt; 0: max_tokens − 1"`
	TurnTokens int           `yaml:"turn_tokens" doc:"of one assistant turn; 0: no limit"`
	Turns      int           `yaml:"turns" doc:"assistant turns; the code of the last is not run (recipe)"`
	StepTokens int           `yaml:"step_tokens" doc:"fed to the model at a time: long prompts and replies are cut (choice)" resume:"free"`
	Pages      int           `yaml:"pages" doc:"KV pages of 64 tokens; 0: enough for the largest batch, within kv_memory" resume:"free"`
	KVMemory   int           `yaml:"kv_memory" doc:"MiB of KV pages if pages is 0; 0: what a run leaves of a GPU; else 4096" resume:"free"`
	MaxLost    float64       `yaml:"max_lost" doc:"share of trajectories the sandbox may lose before a step fails (choice)" resume:"free"`
	CallLimit  time.Duration `yaml:"call_limit" doc:"longest wait for a call, queue included; then its trajectory is lost" resume:"free"`
}

// DefaultConfig has the paper's limits.
func DefaultConfig() Config {
	return Config{MaxTokens: 16384, Turns: 8, StepTokens: 2048, MaxLost: 0.05, CallLimit: 5 * time.Minute}
}

// Validate checks each bound and how they fit.
func (c Config) Validate() error {
	switch {
	case c.MaxTokens < 2:
		return fmt.Errorf("engine.max_tokens: want at least 2, got %d", c.MaxTokens)
	case c.MaxPrompt < 0 || c.MaxPrompt >= c.MaxTokens:
		return fmt.Errorf("engine.max_prompt: want 0 to %d (one less than max_tokens), got %d", c.MaxTokens-1, c.MaxPrompt)
	case c.TurnTokens < 0:
		return fmt.Errorf("engine.turn_tokens: want 0 or more, got %d", c.TurnTokens)
	case c.Turns < 1:
		return fmt.Errorf("engine.turns: want at least 1, got %d", c.Turns)
	case c.StepTokens < 1:
		return fmt.Errorf("engine.step_tokens: want at least 1, got %d", c.StepTokens)
	case c.KVMemory < 0:
		return fmt.Errorf("engine.kv_memory: want MiB for the cache, or 0 for what the run leaves, got %d", c.KVMemory)
	case c.Pages < 0:
		return fmt.Errorf("engine.pages: want 0 or more, got %d", c.Pages)
	case c.MaxLost < 0 || c.MaxLost > 1:
		return fmt.Errorf("engine.max_lost: want a share between 0 and 1, got %g", c.MaxLost)
	case c.CallLimit <= 0:
		return fmt.Errorf("engine.call_limit: want a positive duration, got %v", c.CallLimit)
	}
	return nil
}

// Sampling is how a rollout draws.
type Sampling struct {
	Seed        uint64
	Temperature float32
	TopP        float32
	TopK        int
	MinP        float32
	Sets        bool  // the policy is the distribution over what TopP, TopK and MinP keep: log-probabilities are its, and sets are recorded
	Version     int32 // of the weights; every token drawn carries it
}

// Group asks for samples of one prompt: one trajectory per key. The prompt's KV pages are filled once and shared.
type Group struct {
	Prompt []int32
	Keys   []int64
}

// Stats count what rollouts did since the engine was made.
type Stats struct {
	Sampled    int64 // tokens the policy chose
	Observed   int64 // tokens of tool output appended
	Prefilled  int64 // prompt and tool tokens fed for the first time
	Recomputed int64 // tokens fed again after an eviction
	Shared     int64 // prompt tokens that a sample took from another's pages
	Calls      int64
	Lost       int64
	Evictions  int64
	Copies     int64 // pages copied before a write, because they were shared
	Stale      int64 // tokens drawn over keys and values of other weights

	Decode, Prefill, ToolWait, Idle time.Duration // Prefill: the share of steps that fed prompts and replies; ToolWait: nothing else to do
}

// Sub is the difference between two readings.
func (s Stats) Sub(t Stats) Stats {
	return Stats{
		Sampled: s.Sampled - t.Sampled, Observed: s.Observed - t.Observed, Prefilled: s.Prefilled - t.Prefilled,
		Recomputed: s.Recomputed - t.Recomputed, Shared: s.Shared - t.Shared, Calls: s.Calls - t.Calls, Lost: s.Lost - t.Lost,
		Evictions: s.Evictions - t.Evictions, Copies: s.Copies - t.Copies, Stale: s.Stale - t.Stale,
		Decode: s.Decode - t.Decode, Prefill: s.Prefill - t.Prefill, ToolWait: s.ToolWait - t.ToolWait, Idle: s.Idle - t.Idle,
	}
}

// Engine runs rollouts of one model. Engine and trainer take turns with the model; neither is safe for concurrent use.
type Engine struct {
	cfg    Config
	model  *model.Model
	proto  Protocol    // nil: plain text, no turn ever pauses
	interp Interpreter // nil only if proto is
	tok    Tokens
	eos    []int32
	pages  *pages
	wave   wave
	stats  Stats
	grace  time.Duration // beyond call_limit, for an interpreter to keep its promise to return

	// Watch, when set, is called on the engine's goroutine whenever a trajectory grew, with its length before.
	Watch func(t *Trajectory, from int)
	// Progress, when set, is called on the same goroutine while Rollouts runs: trajectories that have ended, of all.
	Progress func(done, all int)
	// Prefilling, when set, is called in its place until a token is drawn: tokens of prompts that have been fed, of all.
	Prefilling func(done, all int)
}

// Tokens is what the engine asks of a tokenizer: the bytes of an id, and which ids end a text.
type Tokens interface {
	Bytes(id int32) []byte
	Size() int
}

// usualKVMemory is the MiB of a cache for which nobody has counted what there is.
const usualKVMemory = 4096

// New builds an engine around a model. eos are the ids that end a turn. concurrent is the largest number of trajectories a
// rollout will be asked for; with cfg.Pages 0 it sizes the cache.
func New(m *model.Model, cfg Config, tok Tokens, eos []int32, proto Protocol, in Interpreter, concurrent int) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if proto != nil && in == nil {
		return nil, errors.New("engine: a protocol without an interpreter: nothing could answer its calls")
	}
	if cfg.MaxPrompt == 0 {
		cfg.MaxPrompt = cfg.MaxTokens - 1
	}
	n, pageBytes := cfg.Pages, int(m.PageBytes())
	if n == 0 {
		perTrajectory := kernels.PagesOf(cfg.MaxTokens)
		n = max(min(concurrent*perTrajectory, cmp.Or(cfg.KVMemory, usualKVMemory)<<20/pageBytes), perTrajectory) + 1
	}
	if err := m.OpenKV(n); err != nil {
		return nil, fmt.Errorf("engine: %d KV pages of %d tokens: %w", n, kernels.PageTokens, err)
	}
	return &Engine{
		cfg: cfg, model: m, proto: proto, interp: in, tok: tok, eos: eos, pages: newPages(n), grace: 5 * time.Second,
		wave: newWave(m.Device().Info().Cache, m.Parameters()*m.Options.DType.Size(), pageBytes/kernels.PageTokens),
	}, nil
}

// Stats is a reading of the counters.
func (e *Engine) Stats() Stats { return e.stats }

// Pages is the number of KV pages.
func (e *Engine) Pages() int { return len(e.pages.refs) }

// SparePages is how many of them nothing has used so far.
func (e *Engine) SparePages() int { return e.pages.spare }

// Close gives the pages back.
func (e *Engine) Close() { e.model.CloseKV() }
