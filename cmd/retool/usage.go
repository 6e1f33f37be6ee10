package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Forms of the library's errors about flags, which are package flag's.
var (
	unknownFlag  = regexp.MustCompile(`^flag provided but not defined: -(.*)$`)
	lackingValue = regexp.MustCompile(`^flag needs an argument: -(.*)$`)
	wrongValue   = regexp.MustCompile(`(?s)^invalid (?:boolean )?value "(.*)" for (?:flag )?-([^:]*): `)
	wrongSyntax  = regexp.MustCompile(`^bad flag syntax: (.*)$`)
)

// usageError says in this program's words what is wrong with a flag of a command, "" of the program itself: the nearest one that there is,
// or what its value should be.
func usageError(of string, flags []cli.Flag) cli.OnUsageErrorFunc {
	retool := strings.TrimSpace("retool " + of)
	at := ""
	if of != "" {
		at = of + ": "
	}
	return func(_ *cli.Context, err error, _ bool) error {
		text := err.Error()
		if m := unknownFlag.FindStringSubmatch(text); m != nil {
			var known []string
			for _, f := range flags {
				known = append(known, f.Names()...)
			}
			near := ""
			if best := nearest(m[1], known); best != "" {
				near = " did you mean " + dashed(best) + "?"
			}
			return fmt.Errorf("%sno flag %s;%s `%s --help` lists them", at, dashed(m[1]), near, retool)
		}
		if m := lackingValue.FindStringSubmatch(text); m != nil {
			return fmt.Errorf("%s%s: want %s after it, got nothing", at, dashed(m[1]), wanted(flags, m[1]))
		}
		if m := wrongValue.FindStringSubmatch(text); m != nil {
			return fmt.Errorf("%s%s: want %s, got \"%s\"", at, dashed(m[2]), wanted(flags, m[2]), m[1]) // quoted already
		}
		if m := wrongSyntax.FindStringSubmatch(text); m != nil {
			return fmt.Errorf("%swant --NAME or --NAME=VALUE, got %q", at, m[1])
		}
		return err
	}
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// wanted is what a flag takes, in words.
func wanted(flags []cli.Flag, name string) string {
	i := slices.IndexFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
	if i < 0 {
		return "a value"
	}
	switch f := flags[i].(type) {
	case *cli.IntFlag:
		return "a whole number"
	case *cli.Uint64Flag:
		return "a whole number, not negative"
	case *cli.Float64Flag:
		return "a number"
	case *cli.DurationFlag:
		return "a duration such as 5s or 2m30s"
	case *cli.BoolFlag:
		return "true, false or nothing"
	case *cli.StringFlag:
		if p := placeholder(f.Usage); p != "" {
			return p
		}
	case *cli.StringSliceFlag:
		if p := placeholder(f.Usage); p != "" {
			return p
		}
	}
	return "a value"
}

// placeholder is the word between backquotes of a flag's usage: what it takes.
func placeholder(usage string) string {
	_, word, _ := strings.Cut(usage, "`")
	word, _, _ = strings.Cut(word, "`")
	return word
}

// nearest is the known word that a typed one is likeliest to mean, or nothing: two letters may be wrong, and at most half of them.
func nearest(word string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		if d := editDistance(word, k); d < distance && 2*d <= len(word) {
			best, distance = k, d
		}
	}
	return best
}

// noCommand is the error of a command that there is not.
func noCommand(name string) error {
	var known []string
	for _, c := range commands() {
		known = append(known, c.Name)
	}
	near := ""
	if best := nearest(name, known); best != "" {
		near = " did you mean " + best + "?"
	}
	return fmt.Errorf("no command %q;%s `retool --help` lists them", name, near)
}
