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

// Every flag of every command that takes a text refuses an empty one, and so does every argument that is to name something.
func TestNoCommandTakesAnEmptyText(t *testing.T) {
	flags, arguments := 0, 0
	eachCommand(commands(), nil, func(path []string, c *cli.Command) {
		refused := func(says string, args ...string) {
			out, err := typed(append(path[:len(path):len(path)], args...)...)
			require.ErrorContains(t, err, strings.Join(path, " ")+says, "%q", args)
			require.ErrorContains(t, err, ", got an empty text")
			require.Empty(t, out)
		}
		for _, f := range c.Flags {
			if d, ok := f.(cli.DocGenerationFlag); !ok || !d.TakesValue() {
				continue
			}
			switch f.(type) {
			case *cli.IntFlag, *cli.Uint64Flag, *cli.Float64Flag, *cli.DurationFlag: // which an empty text is none of
				continue
			}
			for _, name := range f.Names() {
				refused(": "+dashed(f.Names()[0])+": want ", dashed(name)+"=")
				refused(": "+dashed(f.Names()[0])+": want ", dashed(name), "")
				flags++
			}
		}
		if least, most := places(c.ArgsUsage); most > 0 && most < math.MaxInt && c.ArgsUsage != "[TEXT]" {
			refused(": want "+c.ArgsUsage, make([]string, max(least, 1))...)
			arguments++
		}
	})
	require.Greater(t, flags, 100)
	require.Greater(t, arguments, 15)
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

// What is wrong with a flag or a command is said in this program's words, with the nearest that there is.
func TestWrongFlagsAreOneSentence(t *testing.T) {
	for command, says := range map[string]string{
		"train --sett a=1":                      "train: no flag --sett; did you mean --set? `retool train --help` lists them",
		"bench rollout --zzz":                   "bench rollout: no flag --zzz; `retool bench rollout --help` lists them",
		"--verbose":                             "no flag --verbose; `retool --help` lists them",
		"train --set":                           "train: --set: want KEY=VALUE after it, got nothing",
		"bench kernels --threads two":           `bench kernels: --threads: want a whole number, got "two"`,
		"generate --seed -1":                    `generate: --seed: want a whole number, not negative, got "-1"`,
		"generate --top-p much":                 `generate: --top-p: want a number, got "much"`,
		"profile --every soon -- x":             `profile: --every: want a duration such as 5s or 2m30s, got "soon"`,
		"bench kernels --ops zzz":               `bench: kernels: --ops "zzz" matches no operation`,
		"eval --json=maybe":                     `eval: --json: want true, false or nothing, got "maybe"`,
		"eval ---json":                          `eval: want --NAME or --NAME=VALUE, got "---json"`,
		"trian demo":                            `no command "trian"; did you mean train? `,
		"train dmeo":                            `"dmeo" is neither an embedded recipe (did you mean demo? known: `,
		"data inspect x --limit=99999999999999": "data inspect: --limit: want 0 to 1000000000, got 99999999999999",
	} {
		out, err := typed(strings.Fields(command)...)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "\n")
		require.Empty(t, out)
	}
}
