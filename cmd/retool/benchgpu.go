package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"retool/bench"
	"retool/engine/model"
	"retool/kernels"
)

// benchGPU is `retool bench kernels` on a GPU, or on the emulator, where it only runs every operation and compares.
func benchGPU(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("bench kernels takes no argument, got %q", c.Args().First())
	}
	if path := c.String("cases"); path != "" {
		return model.WriteAtomic(path, func(w io.Writer) error { return bench.WriteCases(w, bench.GPUCases()) })
	}
	o := bench.GPUOptions{Ops: list(c.String("ops"))}
	if path := c.String("peers"); path != "" {
		p, err := bench.ReadPeers(path)
		if err != nil {
			return err
		}
		o.Peers = p
	}
	name := c.String("device")
	d, err := openDevice(name, c.String("variant"), 0)
	if err != nil {
		return err
	}
	dev, ok := d.(*kernels.GPU)
	if !ok {
		return fmt.Errorf("device: %q is no GPU", name)
	}
	defer func() { dev.Close() }()
	if name == "emu" {
		fmt.Println("emulated: every operation runs once and is compared with the CPU; times would mean nothing")
		rows, err := bench.Smoke(dev, bench.SmokeCases(), o)
		bad := 0
		for _, r := range rows {
			mark := "ok"
			if !r.OK {
				mark, bad = "WRONG", bad+1
			}
			fmt.Printf("%-20s %-28s off by %.2g  %s\n", r.Op, r.Shape, r.Error, mark)
		}
		if err != nil {
			return err
		}
		if bad > 0 {
			return fmt.Errorf("bench: %d of %d operations differ from the CPU", bad, len(rows))
		}
		return writeRows(c.String("json"), rows)
	}
	ceilings, rows, err := bench.GPUKernels(dev, bench.GPUCases(), o)
	if err != nil {
		bench.PrintGPU(os.Stdout, rows)
		return err
	}
	ceilings.Date = time.Now().UTC().Format("2006-01-02")
	fmt.Println(ceilings)
	// The kernels of Hopper are a class of their own, and a device's choice once.
	if c.String("variant") == "" {
		if second, err := openDevice(name, "sm90a", 0); err == nil {
			dev.Close()
			dev = second.(*kernels.GPU)
			_, more, err := bench.GPUKernels(dev, bench.HopperCases(), o)
			if err != nil {
				fmt.Fprintln(os.Stderr, "retool: bench: kernels of sm_90a:", err)
			}
			rows = append(rows, more...)
		}
	}
	bench.PrintGPU(os.Stdout, rows)
	return writeRows(c.String("json"), struct {
		Ceilings bench.Ceilings `json:"ceilings"`
		Rows     []bench.GPURow `json:"rows"`
	}{ceilings, rows})
}
