// Command retool trains language models by reinforcement learning for strategic tool use, after ReTool (arXiv 2504.11536).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"retool/interp"
	"retool/trainer"
	"retool/trainer/dist"
)

func main() {
	interp.Init() // a sandboxed child is this program again; it must turn into one before anything else runs
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := app()
	err := a.RunContext(ctx, flagsFirst(os.Args, a.Commands))
	if err == nil {
		return
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = interruption{interrupted(os.Args[1:])}
	}
	fail(err)
}

// learns reports whether a command makes a run, which has checkpoints.
func learns(command string) bool { return slices.Contains([]string{"train", "sft", "demo"}, command) }

// interruption is the error of a command that a signal ended.
type interruption struct{ error }

// interrupted is what of such a command is left.
func interrupted(args []string) error {
	var path []string
	for cs := commands(); len(args) > 0; args = args[1:] {
		i := slices.IndexFunc(cs, func(c *cli.Command) bool { return c.HasName(args[0]) })
		if i < 0 {
			break
		}
		path, cs = append(path, args[0]), cs[i].Subcommands
	}
	switch name := strings.Join(path, " "); {
	case learns(name):
		return errors.New("interrupted; " + trainer.GoesOn)
	case name == "bench algorithms":
		return fmt.Errorf("%s: interrupted; the same command goes on where its runs stand", name)
	default:
		return fmt.Errorf("%s: interrupted", name)
	}
}

// fail ends the process with a sentence. Of several ranks' one sentence, one rank prints it; a launcher that asks for it in a file gets
// it of each that has one of its own.
func fail(err error) {
	var ended *dist.Ended
	if errors.As(err, &ended) && !ended.Speaks {
		os.Exit(1)
	}
	id, wrong := thisRank()
	code := exitCode(err)
	if wrong == nil && id.Rank > 0 && code == saved {
		os.Exit(saved)
	}
	var asked interruption
	switch {
	case wrong == nil && id.Rank > 0 && errors.As(err, &asked): // so is rank 0, and says it
	case wrong == nil && othersSay(id, err):
		time.Sleep(time.Second) // a launcher that ends all ranks with the first one leaves time to say it
	default:
		fmt.Fprintln(os.Stderr, "retool: "+strings.ReplaceAll(err.Error(), "\n", "; ")) // of several errors at once, one line
	}
	if wrong == nil && id.ErrorFile != "" {
		said := map[string]any{"message": err.Error(), "extraInfo": map[string]string{"timestamp": fmt.Sprint(time.Now().Unix())}}
		if text, wrong := json.Marshal(map[string]any{"message": said}); wrong == nil { // as torchrun reads it
			_ = os.WriteFile(id.ErrorFile, text, 0o600)
		}
	}
	os.Exit(code)
}

// exitCode is that of a process which an error ends.
func exitCode(err error) int {
	var c coded
	switch {
	case errors.As(err, &c):
		return c.code
	case errors.Is(err, trainer.ErrSaved):
		return saved
	}
	return 1
}

// othersSay reports whether another rank has the same error and prints it: of what is refused before ranks meet, the first one of a host
// has what follows from the host, and rank 0 what follows from the settings; later, rank 0 what ends the run.
func othersSay(id dist.ID, err error) bool {
	var zero zerosToo
	if errors.As(err, &zero) {
		return true
	}
	if id.Rank == 0 || met.Load() {
		return false
	}
	var typed settingsError
	return id.LocalRank > 0 || errors.As(err, &typed)
}

func app() *cli.App {
	return &cli.App{
		Name:                      "retool",
		Usage:                     "train language models by reinforcement learning for strategic tool use",
		HideHelpCommand:           true,
		Flags:                     []cli.Flag{cli.HelpFlag}, // the library adds it where no command is called help
		DisableSliceFlagSeparator: true,                     // or --set betas=[0.8,0.9] splits at the comma
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              usageError("", []cli.Flag{cli.HelpFlag}),
		CommandNotFound:           nil,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return noCommand(c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
		Commands: commands(),
	}
}

func commands() []*cli.Command {
	return checked("", []*cli.Command{
		demoCommand(), sftCommand(), trainCommand(), evalCommand(), rolloutCommand(), chatCommand(), scoreCommand(), generateCommand(),
		tokenizeCommand(), dataCommand(), fetchCommand(), convertCommand(), configCommand(), reportCommand(), benchCommand(), profileCommand(),
		execCommand(), gradeCommand(), planCommand(), doctorCommand(), launchCommand(), helpCommand(),
	})
}

// flagsFirst moves flags before arguments, at the level of the innermost command: the library stops looking for flags at the first
// argument, so that of `retool train demo --set …` it would see none.
func flagsFirst(args []string, cs []*cli.Command) []string {
	out := args[:1:1]
	rest := args[1:]
	var flags []cli.Flag
	for len(rest) > 0 {
		i := slices.IndexFunc(cs, func(c *cli.Command) bool { return c.HasName(rest[0]) })
		if i < 0 {
			break
		}
		out, rest, flags, cs = append(out, rest[0]), rest[1:], cs[i].Flags, cs[i].Subcommands
	}
	takesValue := func(name string) bool {
		for _, f := range flags {
			if slices.Contains(f.Names(), name) {
				d, ok := f.(cli.DocGenerationFlag)
				return ok && d.TakesValue()
			}
		}
		return false
	}
	var arguments []string
	asked := false // for help, whose argument the library would take for a subcommand
	for len(rest) > 0 {
		arg := rest[0]
		rest = rest[1:]
		switch {
		case arg == "--":
			arguments, rest = append(arguments, rest...), nil
		case len(arg) < 2 || arg[0] != '-':
			arguments = append(arguments, arg)
		default:
			asked = asked || slices.Contains(cli.HelpFlag.Names(), strings.TrimLeft(arg, "-"))
			out = append(out, arg)
			if !strings.Contains(arg, "=") && takesValue(strings.TrimLeft(arg, "-")) && len(rest) > 0 {
				out, rest = append(out, rest[0]), rest[1:]
			}
		}
	}
	if asked {
		return out
	}
	if slices.ContainsFunc(arguments, func(a string) bool { return len(a) > 1 && a[0] == '-' }) {
		out = append(out, "--")
	}
	return append(out, arguments...)
}
