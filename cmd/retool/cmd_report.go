package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"retool/engine/atomicfile"
)

func reportCommand() *cli.Command {
	return &cli.Command{
		Name: "report", Usage: "one web page of a run, or of a demo over several seeds", ArgsUsage: "RUNDIR",
		Description: "Of a run: results, curves, trajectories token by token. Of a directory that holds several demos, such as one for every\n" +
			"seed: accuracy with intervals over the seeds, with the tool and without, and the behaviour over RL steps.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "`FILE` to write (default: RUNDIR/report.html)"},
			&cli.BoolFlag{Name: "table", Usage: "print the results of a demo, or of several over their seeds, and write no page"},
			&cli.StringFlag{Name: "serve",
				Usage: "serve the page at `HOST:PORT` instead, written anew for every visit: for a run that is still training"},
		},
		Action: func(c *cli.Context) error {
			if addr := c.String("serve"); addr != "" {
				if c.Bool("table") {
					return fmt.Errorf("report: --serve shows a page, so --table would do nothing")
				}
				if c.IsSet("out") {
					return fmt.Errorf("report: --serve writes no file, so --out %s would do nothing", c.String("out"))
				}
				return serveReport(c.Context, c.Args().First(), addr, c.App.Writer)
			}
			if err := unusedFlags(c, "out"); err != nil {
				return err
			}
			if c.Bool("table") {
				if c.IsSet("out") {
					return fmt.Errorf("report: --table writes no page, so --out %s would do nothing", c.String("out"))
				}
				table, err := comparisonTable(c.Args().First())
				if err == nil {
					_, err = fmt.Fprintln(c.App.Writer, table)
				}
				return err
			}
			path, err := reportFile(c.Args().First(), c.String("out"))
			if err == nil {
				_, err = fmt.Fprintln(c.App.Writer, path)
			}
			return err
		},
	}
}

// serveReport serves the page of a run directory until the context ends. A run that has logged nothing yet is an answer of 503.
func serveReport(ctx context.Context, dir, addr string, out io.Writer) error {
	if err := wantFolder(dir, "a run's directory, or one of such directories"); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("report: --serve %s: %w", addr, err)
	}
	var one sync.Mutex // a page takes seconds of a core: one at a time
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		one.Lock()
		defer one.Unlock()
		page, err := reportPage(dir)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.Write(page)
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	fmt.Fprintf(out, "http://%s/\n", l.Addr())
	if err := s.Serve(l); ctx.Err() == nil {
		return fmt.Errorf("report: --serve %s: %w", addr, err)
	}
	return ctx.Err()
}

// writeReport writes a run's page into its directory and says where.
func writeReport(dir string, out *terminal) error {
	path, err := reportFile(dir, "")
	if err == nil {
		out.Note("report    " + path)
	}
	return err
}

// reportFile writes the page of a run directory, whole or not at all, and returns its path. path "" is report.html in it.
func reportFile(dir, path string) (string, error) {
	page, err := reportPage(dir)
	if err != nil {
		return "", err
	}
	if path == "" {
		path = filepath.Join(dir, "report.html") // a run's own page is written anew
	}
	if err := atomicfile.WriteBytes(path, page); err != nil {
		return "", fmt.Errorf("report: %w", err)
	}
	return path, nil
}
