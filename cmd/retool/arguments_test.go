package main

import (
	"bytes"
	"context"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
)

// typed runs the program in this process, for what ends before any work.
func typed(args ...string) (string, error) {
	var out bytes.Buffer
	a := app()
	a.Writer, a.ErrWriter = &out, &out
	err := a.RunContext(context.Background(), flagsFirst(append([]string{"retool"}, args...), a.Commands))
	return out.String(), err
}

// eachCommand visits all commands, and theirs, by the words that call them.
func eachCommand(cs []*cli.Command, path []string, visit func(path []string, c *cli.Command)) {
	for _, c := range cs {
		words := append(path[:len(path):len(path)], c.Name)
		visit(words, c)
		eachCommand(c.Subcommands, words, visit)
	}
}

// Every command refuses one argument more than it has a place for, and one less than it needs, by one sentence that names both; and help
// of it is its --help.
func TestEveryCommandCountsItsArguments(t *testing.T) {
	visited := 0
	eachCommand(commands(), nil, func(path []string, c *cli.Command) {
		visited++
		name := strings.Join(path, " ")
		if name == "help" { // of which the library makes that of the program
			return
		}
		asked, err := typed(append([]string{"help"}, path...)...)
		require.NoError(t, err)
		shown, err := typed(append(path, "--help")...)
		require.NoError(t, err)
		require.Equal(t, shown, asked)
		require.Contains(t, shown, "retool "+name)
		if len(c.Subcommands) > 0 && c.ArgsUsage == "" {
			return
		}
		least, most := places(c.ArgsUsage)
		var counts []int
		if most < math.MaxInt {
			counts = append(counts, most+1)
		}
		if least > 0 {
			counts = append(counts, least-1)
		}
		for _, n := range counts {
			arguments := make([]string, n)
			for i := range arguments {
				arguments[i] = "extra" + strings.Repeat("'", i)
			}
			out, err := typed(append(path, arguments...)...)
			require.ErrorContains(t, err, name, "%d arguments", n)
			require.Empty(t, out)
			require.NotContains(t, err.Error(), "\n")
			if n > 0 {
				require.ErrorContains(t, err, arguments[n-1])
			} else {
				require.ErrorContains(t, err, "want "+c.ArgsUsage+", got no argument")
			}
		}
	})
	require.Greater(t, visited, 30)
}

func TestHelpIsAskedAnywhere(t *testing.T) {
	for command, says := range map[string]string{
		"--help": "doctor    what this host offers", "help": "doctor    what this host offers", "": "doctor    what this host offers",
		"train demo --help": "retool train [command options] [RECIPE|FILE.yaml]", "data inspect x -h": "retool data inspect ",
		"launch --procs 2 -- train demo --help": "retool train [command options] [RECIPE|FILE.yaml]",
	} {
		out, err := typed(strings.Fields(command)...)
		require.NoError(t, err, command)
		require.Contains(t, out, says, command)
	}
}

func TestCommandsNameTheFlagsTheyLack(t *testing.T) {
	for command, says := range map[string]string{
		"tokenize x":                 "tokenize: want --model DIR; retool tokenize --help says what it takes",
		"score":                      "score: want --model DIR; ",
		"grade":                      "grade: want --jsonl FILE; ",
		"rollout":                    "rollout: want --from DIR; ",
		"help launch nothing":        `help: no command "launch nothing"; `,
		"help nothing":               `help: no command "nothing"; `,
		"data rewrite a b --model m": "data rewrite: want --endpoint URL; ",
		"data rewrite a b":           "data rewrite: want --endpoint URL and --model NAME; ",
	} {
		out, err := typed(strings.Fields(command)...)
		require.ErrorContains(t, err, says)
		require.Empty(t, out)
	}
}
