// Command retool trains language models by reinforcement learning for strategic tool use, after ReTool (arXiv 2504.11536).
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"retool/interp"
)

func main() {
	interp.Init() // a sandboxed child is this program again; it must turn into one before anything else runs
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := app().RunContext(ctx, os.Args)
	if err == nil {
		return
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = errors.New("interrupted; the same command goes on from the last checkpoint if run= names the directory")
	}
	fmt.Fprintln(os.Stderr, "retool: "+err.Error())
	os.Exit(1)
}

func app() *cli.App {
	return &cli.App{
		Name:                      "retool",
		Usage:                     "train language models by reinforcement learning for strategic tool use",
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true, // or --set betas=[0.8,0.9] splits at the comma
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              usageError,
		CommandNotFound:           nil,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("no command %q; `retool --help` lists them", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
		Commands: commands(),
	}
}

func commands() []*cli.Command {
	cs := []*cli.Command{
		demoCommand(), sftCommand(), trainCommand(), evalCommand(), rolloutCommand(), scoreCommand(), generateCommand(),
		configCommand(), reportCommand(), benchCommand(), execCommand(), doctorCommand(),
	}
	for _, c := range cs {
		c.OnUsageError = usageError
	}
	return cs
}

func usageError(_ *cli.Context, err error, _ bool) error { return err }

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
