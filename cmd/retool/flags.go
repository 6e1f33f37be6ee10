package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"retool/trainer"
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
	if c.NArg() > 1 {
		return nil, fmt.Errorf("%s takes one recipe or file, got %q as well (flags come before it)", c.Command.Name, c.Args().Get(1))
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
	if _, err := os.Stat(path + "/config.json"); err != nil {
		return "", fmt.Errorf("--from %s: neither a run directory with checkpoints nor a folder with config.json: %w", path, err)
	}
	return path, nil
}

// loadedConfig is the configuration stored beside weights, unless the command names another.
func loadedConfig(c *cli.Context) (cfg *Config, from string, err error) {
	if from, err = checkpointOf(c.String("from")); err != nil {
		return nil, "", err
	}
	source := from + "/config.yaml"
	if c.Args().Present() {
		source = c.Args().First()
	} else if _, err := os.Stat(source); errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("--from %s: no config.yaml beside the weights, as a run leaves it: name a recipe (%s) or a file of settings",
			from, strings.Join(recipeNames(), ", "))
	}
	cfg, err = loadConfig(source, c.StringSlice("set"))
	return cfg, from, err
}

// loadedProgram is the program of loadedConfig's configuration and weights, with room for as many trajectories as asked, on one of
// ranks, or alone where they are nil. A run that
// trains meanwhile may remove a checkpoint between the choice and the opening: then the newest is chosen again.
func loadedProgram(c *cli.Context, rs *ranks, concurrent func(*Config) (int, error)) (*Config, *program, error) {
	for {
		cfg, from, err := loadedConfig(c)
		if err != nil {
			return nil, nil, err
		}
		n, err := concurrent(cfg)
		if err != nil {
			return nil, nil, err
		}
		p, err := build(c.Context, cfg, use{from: from, concurrent: n, ranks: rs})
		if err == nil {
			return cfg, p, nil
		}
		if newest, _ := checkpointOf(c.String("from")); !errors.Is(err, fs.ErrNotExist) || newest == from {
			return nil, nil, err
		}
	}
}
