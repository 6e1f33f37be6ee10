package main

import (
	"fmt"
	"path/filepath"

	"github.com/urfave/cli/v2"
)

func demoCommand() *cli.Command {
	return &cli.Command{
		Name: "demo", Usage: "the embedded task end to end: cold start, PPO with real Python, and the same without the tool",
		Flags: []cli.Flag{setFlag()},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("demo takes no argument, got %q; `retool train RECIPE` takes one", c.Args().First())
			}
			sets := c.StringSlice("set")
			tool, err := loadConfig("demo", sets)
			if err != nil {
				return err
			}
			text, err := loadConfig("demo-text", sets)
			if err != nil {
				return err
			}
			return onRanks(c.Context, tool, func(rs *ranks) error { return demo(tool, text, rs) })
		},
	}
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
	textOnly, err := train(text, textDir, out, rs)
	if err != nil || !rs.leads() {
		return err
	}
	s := summary(withTool, textOnly)
	if err := writeSummary(dir.path, s); err != nil {
		return err
	}
	out.Note("\n" + summaryTable(s))
	return writeReport(dir.path, out)
}
