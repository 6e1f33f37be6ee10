package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"retool/bench"
	"retool/engine/atomicfile"
)

func profileCommand() *cli.Command {
	return &cli.Command{
		Name: "profile", Usage: "run a command and record what it does to GPU and processor, beside its tokens a second",
		ArgsUsage: "-- COMMAND…",
		Description: "retool profile -- bin/retool train demo --set device=gpu --set run=runs/a\n\n" +
			"Samples power, clocks, utilisation, memory, temperature and throttle reasons of every GPU (NVML), processor time and memory of the\n" +
			"command's processes, and the tokens a second of a run=DIRECTORY among its arguments. Writes PREFIX.csv and PREFIX.svg.\n" +
			"Its exit code is the command's.",
		Flags: []cli.Flag{
			timeFlag("every", 200*time.Millisecond, "`TIME` between samples"),
			&cli.StringFlag{Name: "out",
				Usage: "write `PREFIX`.csv and PREFIX.svg; default: profile, in the run directory if there is one, written anew"},
		},
		Action: func(c *cli.Context) error {
			command := c.Args().Slice()
			if len(command) == 0 {
				return fmt.Errorf("profile: want a command, got none: retool profile -- bin/retool train demo --set run=runs/a")
			}
			if every := c.Duration("every"); every < 10*time.Millisecond {
				return fmt.Errorf("profile: --every is %v, it must be at least 10ms", every)
			}
			prefix := c.String("out")
			if prefix != "" {
				for _, ext := range []string{".csv", ".svg"} {
					if err := unused(prefix + ext); err != nil {
						return fmt.Errorf("profile: --out: %w", err)
					}
				}
			}
			p, err := bench.ProfileCommand(c.Context, bench.ProfileOptions{Command: command, Every: c.Duration("every")})
			if err != nil {
				return err
			}
			if prefix == "" {
				prefix = filepath.Join(p.Run, "profile")
			}
			if err := os.MkdirAll(filepath.Dir(prefix), 0o755); err != nil {
				return fmt.Errorf("profile: %w", err)
			}
			for ext, write := range map[string]func(io.Writer) error{".csv": p.WriteCSV, ".svg": p.WriteSVG} {
				if err := atomicfile.Write(prefix+ext, write); err != nil {
					return fmt.Errorf("profile: %w", err)
				}
			}
			p.Print(os.Stderr)
			fmt.Fprintf(os.Stderr, "profile: %s.csv, %s.svg\n", prefix, prefix)
			if p.Exit != 0 {
				os.Exit(p.Exit)
			}
			return nil
		},
	}
}
