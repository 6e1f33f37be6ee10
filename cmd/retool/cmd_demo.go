package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// textRecipe ends the name of the recipe that is another's control.
const textRecipe = "-text"

// demoRecipe is the recipe that demo is asked for; without a name, its own.
func demoRecipe(name string) (string, error) {
	if name == "" {
		return "demo", nil
	}
	var known []string
	for _, name := range recipeNames() {
		if slices.Contains(recipeNames(), name+textRecipe) {
			known = append(known, name)
		}
	}
	if !slices.Contains(known, name) {
		return "", fmt.Errorf("demo takes one recipe that has a control without the tool (%s), got %q; `retool train RECIPE` takes any",
			strings.Join(known, ", "), name)
	}
	return name, nil
}

func demoCommand() *cli.Command {
	return &cli.Command{
		Name: "demo", Usage: "a recipe end to end: cold start, PPO with real Python, and the same without the tool",
		ArgsUsage: "[RECIPE]",
		Description: "RECIPE is demo, which needs nothing, or smollm2-135m, a pretrained model that `make pretrained` fetches. The settings\n" +
			"of the part without the tool are those of the recipe RECIPE-text.",
		Flags: []cli.Flag{setFlag()},
		Action: func(c *cli.Context) error {
			read, err := demoConfigs(c)
			if err != nil {
				return err
			}
			return onRanks(c.Context, read[0], true, func(rs *ranks) error { return demo(read[0], read[1], rs) })
		},
	}
}

// demoConfigs is what demo reads: the part with the tool, and the one without.
func demoConfigs(c *cli.Context) (read []*Config, err error) {
	recipe, err := demoRecipe(c.Args().First())
	if err != nil {
		return nil, err
	}
	for _, source := range []string{recipe, recipe + textRecipe} {
		cfg, err := loadConfig(source, c.StringSlice("set"))
		if err != nil {
			return nil, err
		}
		read = append(read, cfg)
	}
	return read, nil
}

// demo trains with the tool and without it, and says what each came to.
func demo(tool, text *Config, rs *ranks) error {
	dir, err := rs.claimRun(tool.Run)
	if err != nil {
		return err
	}
	defer dir.Close()
	textDir, err := rs.claimRun(filepath.Join(dir.path, "text"))
	if err != nil {
		return err
	}
	defer textDir.Close()
	out := newTerminal()
	defer out.Close()
	withTool, err := train(tool, dir, out, rs)
	if err != nil {
		return err
	}
	if rs.leads() {
		out.Note("\nthe same model, budget and problems without the tool")
	}
	debug.FreeOSMemory() // a pretrained model's first part leaves gigabytes that would otherwise stay beside the second's
	textOnly, err := train(text, textDir, out, rs)
	if err != nil || !rs.leads() {
		return err
	}
	s := summary(withTool, textOnly)
	if err := writeSummary(dir.path, s); err != nil {
		return err
	}
	if err := errors.Join(writeEvaluations(dir.path, withTool), writeEvaluations(textDir.path, textOnly)); err != nil {
		return err
	}
	out.Note("\n" + summaryTable(s))
	return writeReport(dir.path, out)
}
