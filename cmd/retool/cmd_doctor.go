package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"retool/interp"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "what this host offers the sandbox: layers, tiers, what is missing and how to get it",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "print the report as JSON"},
			&cli.StringFlag{Name: "python", Usage: "interpreter `PATH`; default: the one `make python` built, else python3"},
		},
		Action: func(c *cli.Context) error {
			cfg := interp.Default()
			cfg.Python = c.String("python")
			r, err := interp.Diagnose(c.Context, cfg)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				e := json.NewEncoder(c.App.Writer)
				e.SetIndent("", "  ")
				err = e.Encode(r)
			} else {
				printReport(c.App.Writer, r)
			}
			switch {
			case err != nil:
				return err
			case r.Error != "":
				return fmt.Errorf("%s", r.Error)
			case r.Best == interp.TierNone:
				return fmt.Errorf("doctor: %w", interp.ErrTier)
			}
			return nil
		},
	}
}

func mark(ok bool) string {
	if ok {
		return "yes"
	}
	return "no"
}

// printReport writes the table: one line per layer and tier, the remedy under what is missing.
func printReport(w io.Writer, r interp.Report) {
	fmt.Fprintf(w, "%-18s %-5s %s\n", "layer", "", "found")
	for _, l := range r.Layers {
		fmt.Fprintf(w, "%-18s %-5s %s\n", l.Name, mark(l.OK), l.Detail)
		if !l.OK && l.Remedy != "" {
			fmt.Fprintf(w, "%-18s %-5s to get it: %s\n", "", "", l.Remedy)
		}
	}
	if r.Python != "" {
		fmt.Fprintf(w, "\npython %s  %s\n", r.Python, r.Path)
	}
	if len(r.Tiers) > 0 {
		fmt.Fprintf(w, "\n%-18s %-5s %-10s %s\n", "tier", "", "start", "self-test")
	}
	for _, t := range r.Tiers {
		detail := t.Detail
		if t.OK {
			passed := 0
			for _, c := range t.SelfTest {
				if c.OK {
					passed++
				}
			}
			detail = fmt.Sprintf("%d of %d attacks held off", passed, len(t.SelfTest))
		}
		fmt.Fprintf(w, "%-18s %-5s %-10v %s\n", t.Tier, mark(t.OK), t.Start.Round(10*time.Millisecond), detail)
	}
	for _, t := range r.Tiers {
		if t.OK {
			names := make([]string, 0, len(t.Modules))
			for m, v := range t.Modules {
				if v != "" {
					names = append(names, m+" "+v)
				}
			}
			sort.Strings(names)
			if len(names) > 0 {
				fmt.Fprintf(w, "\npreloaded with versions: %s\n", strings.Join(names, ", "))
			}
			break
		}
	}
	if r.Best != interp.TierNone {
		fmt.Fprintf(w, "\na run here gets tier %v\n", r.Best)
	}
}
