package main

import (
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"retool/bench"
	"retool/interp"
)

// sandboxBench is `retool bench sandbox`.
func sandboxBench() *cli.Command {
	return &cli.Command{
		Name: "sandbox", Usage: "Python calls: naive subprocess, isolated cold start, warm pool, stateful session, side by side",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "json", Usage: "write host, rows and ratios to `FILE`"},
			&cli.StringFlag{Name: "python", Usage: "interpreter `PATH`; default: the one `make python` built, else python3"},
			&cli.StringFlag{Name: "concurrency", Value: "1,8,64", Usage: "calls in flight, `N,N,…`"},
			timeFlag("budget", 2*time.Second, "`TIME` for each row; a row makes at least one call per worker"),
		},
		Action: func(c *cli.Context) error {
			o := bench.SandboxOptions{Config: interp.Default(), Each: c.Duration("budget"),
				Log: slog.New(slog.NewTextHandler(c.App.ErrWriter, &slog.HandlerOptions{Level: slog.LevelWarn}))}
			o.Config.Python = c.String("python")
			for _, s := range strings.Split(c.String("concurrency"), ",") {
				n, err := strconv.Atoi(strings.TrimSpace(s))
				if err != nil || n < 1 || n > 4096 {
					return fmt.Errorf("bench sandbox: --concurrency %q: want counts from 1 to 4096, found %q", c.String("concurrency"), s)
				}
				o.Concurrency = append(o.Concurrency, n)
			}
			if err := unusedFlags(c, "json"); err != nil {
				return err
			}
			r, err := bench.Sandbox(c.Context, o)
			if err != nil {
				return err
			}
			printSandbox(c.App.Writer, r)
			if len(r.Missing) > 0 {
				fmt.Fprintf(c.App.ErrWriter, "bench sandbox: no row for sympy, which %s lacks: run `make python`\n", r.Python)
			}
			if path := c.String("json"); path != "" {
				return writeJSON(path, r)
			}
			return nil
		},
	}
}

func printSandbox(w io.Writer, r bench.SandboxReport) {
	fmt.Fprintf(w, "%d cores, tier %v, python %s, %s\n\n", runtime.NumCPU(), r.Tier, r.Python, r.Libraries)
	fmt.Fprintf(w, "%-10s %-20s %10s %10s %10s %10s\n", "workload", "mode", "concurrent", "calls/s", "p50 ms", "p99 ms")
	for _, row := range r.Rows {
		fmt.Fprintf(w, "%-10s %-20s %10d %10.1f %10.2f %10.2f\n", row.Workload, row.Mode, row.Concurrency, row.PerSecond, row.P50ms, row.P99ms)
	}
	fmt.Fprintf(w, "\nwarm pool, times as many calls per second as\n")
	for _, x := range r.Ratios {
		fmt.Fprintf(w, "%-10s at %2d concurrent: naive subprocess %6.1f   isolated cold start %6.1f\n", x.Workload, x.Concurrency, x.Naive,
			x.Cold)
	}
}
