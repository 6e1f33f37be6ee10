package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"

	"retool/bench"
	"retool/engine/atomicfile"
	"retool/engine/jsonfile"
	"retool/kernels"
	"retool/kernels/driver"
	"retool/kernels/emu"
	"retool/kernels/probe"
)

// onGPU is a subcommand of bench that runs on a GPU or on the emulator, which is opened for it.
func onGPU(name, usage string, run func(*cli.Context, *kernels.GPU) error, flags ...cli.Flag) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage,
		Flags: append(flags,
			&cli.StringFlag{Name: "device", Value: "gpu", Usage: "`NAME`: gpu or emu"},
			&cli.StringFlag{Name: "variant", Usage: "`KERNELS` of the device: sm80, sm90a"},
			&cli.StringFlag{Name: "json", Usage: "write what was found to `FILE`"}),
		Action: func(c *cli.Context) error {
			if err := unusedFlags(c, "json"); err != nil {
				return err
			}
			dev, err := openGPU(c.String("device"), c.String("variant"))
			if err != nil {
				return err
			}
			defer dev.Close()
			defer endsWith(c.Context)()
			return run(c, dev)
		},
	}
}

// patterns is regular expressions with commas between them.
func patterns(s string) (all []*regexp.Regexp, err error) {
	for _, p := range list(s) {
		r, err := regexp.Compile(p)
		if err != nil {
			return nil, fmt.Errorf("bench: --ops: %q is no regular expression: %w", p, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// loadOnGPU compiles every module that ships.
func loadOnGPU(c *cli.Context, dev *kernels.GPU) error {
	r, err := bench.Load(dev, func(r bench.LoadReport) error {
		m := r.Modules[len(r.Modules)-1]
		fmt.Printf("%-20s %2d kernels  %6.2f s  %s\n", m.Name, len(m.Kernels), m.Seconds, m.Why)
		return writeRows(c.String("json"), r)
	})
	if err != nil {
		return err
	}
	fmt.Printf("%s, driver %s: %d modules compiled in %.2f s\n", r.GPU, r.Driver, len(r.Modules), r.Seconds)
	if bad := r.Bad(); len(bad) > 0 {
		return fmt.Errorf("bench: load: %s", strings.Join(bad, "; "))
	}
	return nil
}

// smokeOnGPU runs every operation once and compares it with the CPU.
func smokeOnGPU(c *cli.Context, dev *kernels.GPU) error {
	ops, err := patterns(c.String("ops"))
	if err != nil {
		return err
	}
	rows, err := bench.Smoke(dev, bench.SmokeCases(), bench.GPUOptions{Ops: ops})
	if err == nil && len(rows) == 0 {
		return fmt.Errorf("bench: smoke: --ops %q matches no operation", c.String("ops"))
	}
	bad := 0
	for _, r := range rows {
		mark := "ok"
		if !r.OK {
			mark, bad = "WRONG", bad+1
		}
		fmt.Printf("%-20s %-28s off by %.2g  %s\n", r.Op, r.Shape, r.Error, mark)
	}
	if err := errors.Join(err, writeRows(c.String("json"), rows)); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("bench: %d of %d operations differ from the CPU", bad, len(rows))
	}
	return nil
}

// probeGPU records what a GPU answers to single instructions: a golden file of kernels/probe/testdata.
func probeGPU(c *cli.Context, dev *kernels.GPU) error {
	var got probe.Recording
	err := dev.Raw(func(drv driver.Driver) (err error) {
		got, err = probe.Run(drv)
		return err
	})
	if err != nil {
		return err
	}
	if err := writeRows(c.String("json"), got); err != nil {
		return err
	}
	want, err := probe.Run(emu.New(emu.Options{Capability: 80}))
	if err != nil {
		return err
	}
	if different := probe.Compare(want, got); len(different) > 0 {
		return fmt.Errorf("bench: probes: %s and the emulator differ: %s", got.GPU, strings.Join(different, "; "))
	}
	fmt.Printf("%s, driver %s: %d probes, as the emulator has them\n", got.GPU, got.Driver, len(got.Results))
	return nil
}

// benchGPU is `retool bench kernels` on a GPU or on the emulator: the portable kernels, and on sm_90 those of Hopper, a class of their own.
func benchGPU(c *cli.Context) error {
	if err := unusedFlags(c, "cases"); err != nil {
		return err
	}
	if path := c.String("cases"); path != "" {
		return atomicfile.Write(path, func(w io.Writer) error { return bench.WriteCases(w, bench.GPUCases()) })
	}
	path, name := c.String("json"), c.String("device")
	if err := checkDevice(name, c.String("variant")); err != nil {
		return fmt.Errorf("bench: --%w", err)
	}
	ops, err := patterns(c.String("ops"))
	if err != nil {
		return err
	}
	o := bench.GPUOptions{Ops: ops, Emulated: name == "emu"}
	if p := c.String("peers"); p != "" {
		if o.Peers, err = bench.ReadPeers(p); err != nil {
			return err
		}
	}
	report, err := readReport(c, path)
	if err != nil {
		return err
	}
	report.Compare(o.Peers)
	cases := bench.GPUCases()
	if o.Emulated {
		fmt.Println("emulated: small shapes, and times that mean nothing")
		cases = bench.SmokeCases()
	}
	defer endsWith(c.Context)()
	variants := []string{c.String("variant")}
	if variants[0] == "" {
		variants = []string{"sm80", "sm90a"}
	}
	for i, variant := range variants {
		dev, openErr := openGPU(name, variant)
		if openErr != nil && i > 0 {
			break // no Hopper
		}
		if err = openErr; err != nil {
			break
		}
		if variant == "sm90a" {
			cases = bench.HopperCases(cases)
		}
		seen := len(report.Rows)
		err = bench.GPUKernels(dev, cases, o, report, func() error {
			for ; seen < len(report.Rows); seen++ {
				r := report.Rows[seen]
				fmt.Fprintf(os.Stderr, "bench: %s %s, %s: %.1f µs\n", r.Op, r.Shape, r.Variant, r.Median)
			}
			return writeRows(path, report)
		})
		dev.Close()
		if err != nil {
			break
		}
	}
	if report.Ceilings.GPU != "" {
		fmt.Println(report.Ceilings)
	}
	if len(report.Rows) > 0 {
		bench.PrintGPU(os.Stdout, report.Rows)
	}
	if report.Ceilings.GPU == "" {
		return err
	}
	if err == nil && len(report.Rows) == 0 {
		return fmt.Errorf("bench kernels: --ops %q matches no operation", c.String("ops"))
	}
	return errors.Join(err, writeRows(path, report))
}

// readReport is what the file of --json has, with --resume; a file that is not there yet has nothing.
func readReport(c *cli.Context, path string) (*bench.GPUReport, error) {
	r := &bench.GPUReport{}
	if !c.Bool("resume") {
		return r, unusedFlags(c, "json")
	}
	if path == "" {
		return nil, fmt.Errorf("bench kernels: --resume goes on from the file of --json, and none is named")
	}
	text, err := readText(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, unusedFlags(c, "json")
	}
	if err == nil {
		err = jsonfile.Unmarshal(text, r)
	}
	if err != nil {
		return nil, fmt.Errorf("bench kernels: --resume: %s: %w", path, err)
	}
	r.Resume()
	return r, nil
}
