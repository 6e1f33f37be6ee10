package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// checked makes commands, and theirs, refuse in one sentence what they cannot take, before they do anything: another number of arguments
// than their ArgsUsage has places for, the lack of a flag that is marked as required, flags that they do not have, and empty text where
// one is to say something. The library would print the whole help, and commands would take an empty value for none. of is the command that
// they are below.
func checked(of string, cs []*cli.Command) []*cli.Command {
	for _, c := range cs {
		name := strings.TrimSpace(of + " " + c.Name)
		c.OnUsageError = usageError(name, append([]cli.Flag{cli.HelpFlag}, c.Flags...))
		own := len(checked(name, c.Subcommands)) > 0
		required := requiredFlags(c)
		if own && c.ArgsUsage == "" { // it says itself which command it wants
			continue
		}
		if c.ArgsUsage == "" {
			c.ArgsUsage = " " // help would show [arguments...]
		}
		c.Before = func(ctx *cli.Context) error {
			if err := checkEmpty(ctx); err != nil {
				return err
			}
			if c.Command(ctx.Args().First()) != nil { // the arguments are another's, who checks them
				return nil
			}
			if err := checkArguments(ctx); err != nil {
				return err
			}
			return checkRequired(ctx, required)
		}
	}
	return cs
}

// called is a command's name, such as data inspect.
func called(c *cli.Context) string { return strings.TrimPrefix(c.Command.HelpName, "retool ") }

// checkArguments refuses another number of arguments than there are places for, and an empty one, but of a TEXT or a COMMAND.
func checkArguments(c *cli.Context) error {
	usage := c.Command.ArgsUsage
	least, most := places(usage)
	n := c.NArg()
	if n >= least && n <= most {
		if slices.Contains(c.Args().Slice(), "") && most < math.MaxInt && !strings.Contains(usage, "TEXT") {
			return fmt.Errorf("%s: want %s, got an empty text", called(c), usage)
		}
		return nil
	}
	if most == 0 {
		return fmt.Errorf("%s takes no argument, got %q", called(c), c.Args().First())
	}
	got := "no argument"
	if n > 0 {
		got = fmt.Sprintf("%d: %q", n, c.Args().Slice())
	}
	return fmt.Errorf("%s: want %s, got %s", called(c), c.Command.ArgsUsage, got)
}

// checkEmpty refuses flags that are given an empty text, as an unset variable of a shell leaves one: it is not as if they were not given.
func checkEmpty(c *cli.Context) error {
	for _, f := range c.Command.Flags {
		name, given := f.Names()[0], []string(nil)
		switch f.(type) {
		case *cli.StringFlag:
			given = []string{c.String(name)}
		case *cli.StringSliceFlag:
			given = c.StringSlice(name)
		}
		if c.IsSet(name) && slices.Contains(given, "") {
			return fmt.Errorf("%s: %s: want %s, got an empty text", called(c), dashed(name), wanted(c.Command.Flags, name))
		}
	}
	return nil
}

// places is how many arguments a usage has words for: at least those without brackets, and any number from one with … on, whose
// lack the command itself puts into words.
func places(usage string) (least, most int) {
	for _, word := range strings.Fields(usage) {
		switch {
		case word == "--":
		case strings.Contains(word, "…"):
			return least, math.MaxInt
		case strings.HasPrefix(word, "["):
			most++
		default:
			least, most = least+1, most+1
		}
	}
	return least, most
}

// requiredFlags takes over the flags that a command cannot do without.
func requiredFlags(c *cli.Command) (required []*cli.StringFlag) {
	for _, f := range c.Flags {
		if s, ok := f.(*cli.StringFlag); ok && s.Required {
			s.Required = false
			required = append(required, s)
		}
	}
	return required
}

// checkRequired names the flags that are missing, with what each takes.
func checkRequired(c *cli.Context, required []*cli.StringFlag) error {
	var missing []string
	for _, f := range required {
		if !c.IsSet(f.Name) {
			missing = append(missing, fmt.Sprintf("--%s %s", f.Name, placeholder(f.Usage)))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%s: want %s; retool %s --help says what it takes", called(c), strings.Join(missing, " and "), called(c))
}

// helpCommand is --help of the command that its arguments name.
func helpCommand() *cli.Command {
	return &cli.Command{
		Name: "help", Usage: "what a command does and takes, as --help after it says", ArgsUsage: "[COMMAND…]",
		Action: func(c *cli.Context) error {
			a := app()
			a.Writer = c.App.Writer
			at := a.Commands
			for i, name := range c.Args().Slice() {
				var next *cli.Command
				for _, known := range at {
					if known.HasName(name) {
						next = known
					}
				}
				if next == nil {
					return fmt.Errorf("help: no command %q; `retool --help` lists them", strings.Join(c.Args().Slice()[:i+1], " "))
				}
				at = next.Subcommands
			}
			return a.RunContext(c.Context, append(append([]string{"retool"}, c.Args().Slice()...), "--help"))
		},
	}
}
