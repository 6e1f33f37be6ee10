package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/urfave/cli/v2"

	"retool/trainer"
)

func configCommand() *cli.Command {
	return &cli.Command{
		Name: "config", Usage: "print a configuration as it would be used",
		Description: "retool config [RECIPE|FILE.yaml] prints every setting; what it prints can be used as a file.\n" +
			"retool config explain [KEY] says what settings mean and where their defaults come from; of rl.algorithm, what each claims,\n" +
			"needs and costs.\n" +
			"retool config --source RECIPE prints a recipe as it is written, with its comments: what of it is the paper's.",
		ArgsUsage: "[RECIPE|FILE.yaml]",
		Subcommands: []*cli.Command{{
			Name: "explain", Usage: "what settings mean, those whose key contains KEY, or all", ArgsUsage: "[KEY]",
			Action: func(c *cli.Context) error { return explainKeys(c.Args().First()) },
		}},
		HideHelpCommand: true,
		Flags:           []cli.Flag{setFlag(), &cli.BoolFlag{Name: "source", Usage: "print a recipe as it is written"}},
		Action: func(c *cli.Context) error {
			if c.Bool("source") {
				text, err := recipes.ReadFile("recipes/" + c.Args().First() + ".yaml")
				if err != nil || c.NArg() != 1 || c.IsSet("set") {
					return fmt.Errorf("config: --source wants a recipe (%s), and nothing else", strings.Join(recipeNames(), ", "))
				}
				_, err = os.Stdout.Write(text)
				return err
			}
			cfg, err := configured(c, "")
			if err == nil {
				var text []byte
				if text, err = cfg.text(); err == nil {
					_, err = os.Stdout.Write(text)
				}
			}
			if err != nil && !c.Args().Present() && len(c.StringSlice("set")) == 0 {
				return fmt.Errorf("config: name a recipe (%s) or a file: the defaults alone lack a model and data", strings.Join(recipeNames(), ", "))
			}
			return err
		},
	}
}

// explainAlgorithms prints what rl.algorithm can name.
func explainAlgorithms() {
	for _, a := range trainer.Algorithms() {
		fmt.Printf("\n%s: %s\n", a.Name, a.Paper)
		fmt.Printf("  claims    %s\n  needs     %s\n  cost      %s\n  averages  over %s%s\n", a.Claim, a.Needs, a.Cost, a.Aggregate,
			map[bool]string{true: " ÷ rl.horizon"}[a.Aggregate == "constant"])
		if len(a.Uses) > 0 {
			fmt.Printf("  uses      %s\n", strings.Join(a.Uses, ", "))
		}
		if len(a.Published) > 0 {
			var values []string
			for _, key := range slices.Sorted(maps.Keys(a.Published)) {
				values = append(values, key+" "+a.Published[key])
			}
			fmt.Printf("  published %s (taken where nobody gives another)\n", strings.Join(values, ", "))
		}
	}
}

// explainKeys prints settings whose key contains part.
func explainKeys(part string) error {
	found := false
	defaults := DefaultConfig()
	for _, s := range settings(&defaults) {
		if !strings.Contains(s.key, part) {
			continue
		}
		found = true
		value, _ := yaml.Marshal(s.value.Interface())
		text := strings.ReplaceAll(strings.TrimSpace(string(value)), "\n", " ")
		fmt.Printf("%-26s %-14s %s\n", s.key, text, s.doc)
	}
	if part == "rl.algorithm" {
		explainAlgorithms()
	}
	if !found {
		return fmt.Errorf("config explain: no setting's key contains %q", part)
	}
	return nil
}
