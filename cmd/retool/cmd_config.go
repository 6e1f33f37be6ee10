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
			"retool config explain [KEY] says what settings mean and where their defaults come from; of rl.algorithm and model.lora, what\n" +
			"is claimed of each, what it needs and costs.\n" +
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
				texts := recipe(c.Args().First())
				if texts == nil || c.NArg() != 1 || c.IsSet("set") {
					return fmt.Errorf("config: --source wants a recipe (%s), and nothing else", strings.Join(recipeNames(), ", "))
				}
				_, err := os.Stdout.Write(texts[len(texts)-1])
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
		fmt.Printf("  recipe    demo-%s\n", a.Name)
	}
}

// adapterAdvice is what config explain says of model.lora.
const adapterAdvice = `
adapters: Hu 2021, arXiv 2106.09685; rslora: Kalajdzievski 2023, arXiv 2312.03732; advice: Schulman 2025, LoRA Without Regret
  claims    beside every projection, an adapter of small rank reaches in RL what training all weights does
  needs     a base that solves some of the task: embedding, norms and head are not learnt; rl.lr ten times that for all weights
  targets   those of the MLP (gate_proj, up_proj, down_proj) matter more than those of attention; all-linear is all seven
  rank      8 for RL, whose trajectories say little each; 64 and more for a cold start on many traces; at most a matrix's smaller side
  alpha     left alone when the rank changes: alpha/rank lets rl.lr be; rslora is for ranks of 64 and more
  cost      16 bytes (adapter, gradient, two moments) for each of rank × (inputs + outputs) numbers a target, and nothing of that for
            other weights; policy, critic and reference share one base; two thin products more a target
  recipe    demo-lora, after retool sft demo --set run=runs/cold
`

// explainKeys prints settings whose key contains part.
func explainKeys(part string) error {
	found, adapters := false, true // adapters: nothing else
	defaults := DefaultConfig()
	for _, s := range settings(&defaults) {
		if !strings.Contains(s.key, part) {
			continue
		}
		found, adapters = true, adapters && strings.HasPrefix(s.key, "model.lora.")
		value, _ := yaml.Marshal(s.value.Interface())
		text := strings.ReplaceAll(strings.TrimSpace(string(value)), "\n", " ")
		fmt.Printf("%-26s %-14s %s\n", s.key, text, s.doc)
	}
	if part == "rl.algorithm" {
		explainAlgorithms()
	}
	if found && adapters {
		fmt.Print(adapterAdvice)
	}
	if !found {
		return fmt.Errorf("config explain: no setting's key contains %q", part)
	}
	return nil
}
