package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"retool/trainer"
	"retool/trainer/dist"
)

// setFlag is on every command that takes a configuration.
func setFlag() *cli.StringSliceFlag {
	return &cli.StringSliceFlag{Name: "set", Usage: "override a setting, `KEY=VALUE`, such as rl.lr=2e-6; repeatable"}
}

// configured loads the configuration a command names: its first argument, or fallback.
func configured(c *cli.Context, fallback string) (*Config, error) {
	source := fallback
	if c.Args().Present() {
		source = c.Args().First()
	}
	return loadConfig(source, c.StringSlice("set"))
}

// fromFlag names weights: a checkpoint, or a run directory, whose newest checkpoint is taken.
func fromFlag() *cli.StringFlag {
	return &cli.StringFlag{Name: "from", Usage: "weights: a checkpoint, or a run `DIR` whose newest checkpoint is taken", Required: true}
}

// checkpointOf resolves --from.
func checkpointOf(path string) (string, error) {
	if dir := trainer.Latest(path); dir != "" {
		return dir, nil
	}
	const want = "a run's directory with checkpoints, or a model's folder with config.json"
	if err := wantFolder(path, want); err != nil {
		return "", fmt.Errorf("--from %w", err)
	}
	if _, err := os.Stat(path + "/config.json"); err != nil {
		return "", fmt.Errorf("--from %s: want %s, found neither: %w", path, want, err)
	}
	return path, nil
}

// A loaded configuration is that of weights to sample from.
type loaded struct {
	cfg    *Config
	preset *preset // nil without --preset
	from   string  // the weights' folder
}

// loadedConfig is the configuration stored beside weights, unless the command names another, under the preset that it may name. A preset
// and a chat need no configuration: what nothing says has its default.
func loadedConfig(c *cli.Context) (l loaded, err error) {
	if l.from, err = checkpointOf(c.String("from")); err != nil {
		return l, err
	}
	source, sets, own := l.from+"/config.yaml", c.StringSlice("set"), !c.Args().Present()
	if c.Args().Present() {
		source = c.Args().First()
	} else if _, err := os.Stat(source); errors.Is(err, fs.ErrNotExist) {
		if !c.IsSet("preset") && c.Command.Name != "chat" {
			return l, fmt.Errorf("--from %s: no config.yaml beside the weights, as a run leaves it: name a recipe (%s) or a file of settings",
				l.from, strings.Join(recipeNames(), ", "))
		}
		source, own = "", false
		sets = append([]string{"model.path=" + l.from}, sets...)
	}
	switch {
	case c.IsSet("preset"):
		l.cfg, l.preset, err = underPreset(c.String("preset"), source, own, l.from, sets)
	case source == "":
		l.cfg, err = loadOverlaid("", func(cfg *Config) error { return cfg.fitPositions(l.from) }, sets)
	default:
		l.cfg, err = loadConfig(source, sets)
	}
	return l, err
}

// loadedProgram is the program of loadedConfig's configuration and weights, with room for as many trajectories as asked, on one of
// ranks, or alone where they are nil. A run that
// trains meanwhile may remove a checkpoint between the choice and the opening: then the newest is chosen again.
func loadedProgram(c *cli.Context, rs *ranks, concurrent func(*Config) (int, error)) (loaded, *program, error) {
	for {
		l, err := loadedConfig(c)
		if err != nil {
			return l, nil, err
		}
		n, err := concurrent(l.cfg)
		if err != nil {
			return l, nil, err
		}
		u := use{from: l.from, concurrent: n, ranks: rs}
		id := dist.ID{Size: 1, LocalSize: 1}
		if rs != nil {
			id = rs.id
		}
		memory, err := newBudget(l.cfg, u, id)
		if err != nil {
			return l, nil, err
		}
		u.kvMemory = memory.kvMemory()
		p, err := build(c.Context, l.cfg, u)
		if err == nil {
			p.memory = memory
			return l, p, nil
		}
		if newest, _ := checkpointOf(c.String("from")); !errors.Is(err, fs.ErrNotExist) || newest == l.from {
			return l, nil, err
		}
	}
}
