package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"retool/bench"
	"retool/kernels"
)

func benchCommand() *cli.Command {
	common := []cli.Flag{
		&cli.StringFlag{Name: "device", Value: "cpu", Usage: "`NAME`: cpu or gpu; of kernels also emu, which checks and measures nothing"},
		&cli.StringFlag{Name: "variant", Usage: "`KERNELS` of the device: avx512, avx2, go; sm80, sm90a"},
		&cli.IntFlag{Name: "threads", Usage: "`N`; 0: one per core"},
		&cli.StringFlag{Name: "models", Usage: "`NAMES` of shapes: d128 (0.9 M parameters), d256 (5.2 M), q05 (Qwen2.5-0.5B); none: the first two, on a GPU the last"},
		&cli.StringFlag{Name: "json", Usage: "write the rows to `FILE`"},
		&cli.DurationFlag{Name: "budget", Usage: "`TIME` for each row"},
	}
	sub := func(name, usage string, measure func(*cli.Context, kernels.Device, *bench.Floor) ([]bench.Row, error), flags ...cli.Flag) *cli.Command {
		return &cli.Command{
			Name: name, Usage: usage, Flags: append(flags, common...), OnUsageError: usageError,
			Action: func(c *cli.Context) error {
				if c.Args().Present() {
					return fmt.Errorf("bench %s takes no argument, got %q", name, c.Args().First())
				}
				name := c.String("device")
				if name != "cpu" && name != "gpu" {
					return fmt.Errorf("bench %s: device %q, want cpu or gpu", c.Command.Name, name)
				}
				dev, err := openDevice(name, c.String("variant"), c.Int("threads"))
				if err != nil {
					return err
				}
				defer dev.Close()
				gpu, onGPU := dev.(*kernels.GPU)
				var floor bench.Floor
				if onGPU {
					var ceilings bench.Ceilings
					if ceilings, floor, err = bench.GPUFloor(gpu); err != nil {
						return err
					}
					fmt.Println(ceilings)
				} else {
					info := dev.Info()
					fmt.Printf("%s, %d threads, %s kernels, %s, %s\n", info.Name, info.Threads, info.Variant, runtime.Version(), time.Now().UTC().Format("2006-01-02"))
					floor = bench.Calibrate(dev)
				}
				rows, err := measure(c, dev, &floor)
				if err != nil {
					return err
				}
				if !onGPU {
					floor.Again(dev)
					floor.Share(rows)
					rows = append(floor.Rows(), rows...)
				}
				bench.Print(os.Stdout, rows)
				return writeRows(c.String("json"), rows)
			},
		}
	}
	options := func(c *cli.Context, f *bench.Floor) bench.Options {
		return bench.Options{Models: list(c.String("models")), Budget: c.Duration("budget"), Floor: f}
	}
	kernelsOn := sub("kernels", "every operation at the shapes of training and decode", func(c *cli.Context, d kernels.Device, f *bench.Floor) ([]bench.Row, error) {
		return bench.Kernels(d, bench.KernelOptions{Models: list(c.String("models")), Ops: list(c.String("ops")), Budget: c.Duration("budget"), Floor: f})
	}, &cli.StringFlag{Name: "ops", Usage: "only operations whose name contains one of `NAMES`"},
		&cli.StringFlag{Name: "peers", Usage: "gpu: compare with what bench/peers.py wrote to `FILE`, and take the rate of matrices from there"},
		&cli.StringFlag{Name: "cases", Usage: "write the cases of a GPU, for bench/peers.py, to `FILE`, and measure nothing"})
	onCPU := kernelsOn.Action
	kernelsOn.Action = func(c *cli.Context) error {
		if c.String("device") != "cpu" || c.String("cases") != "" {
			return benchGPU(c)
		}
		return onCPU(c)
	}
	return &cli.Command{
		Name: "bench", Usage: "how fast: operations, rollouts, training steps and the sandbox, each beside what this machine can do",
		Subcommands: []*cli.Command{
			kernelsOn,
			sub("rollout", "prefill and decode through the engine, sampling included", func(c *cli.Context, d kernels.Device, f *bench.Floor) ([]bench.Row, error) {
				return bench.Rollout(c.Context, d, options(c, f))
			}),
			sub("train", "training steps, and whole steps of reinforcement learning", func(c *cli.Context, d kernels.Device, f *bench.Floor) ([]bench.Row, error) {
				return bench.Train(c.Context, d, options(c, f))
			}),
			sandboxBench(),
		},
		Action: func(c *cli.Context) error {
			return fmt.Errorf("bench: want kernels, rollout, train or sandbox, got %q", c.Args().First())
		},
	}
}

// list is names with commas between them.
func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func writeRows(path string, rows any) error {
	if path == "" {
		return nil
	}
	return writeJSON(path, rows)
}
