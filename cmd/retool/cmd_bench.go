package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"retool/bench"
	"retool/engine/model"
	"retool/kernels"
)

func benchCommand() *cli.Command {
	common := []cli.Flag{
		&cli.StringFlag{Name: "device", Value: "cpu", Usage: "`NAME`: cpu, gpu, or emu, which checks every launch and whose times mean nothing"},
		&cli.StringFlag{Name: "variant", Usage: "`KERNELS` of the device: avx512bf16, avx512, avx2, go; sm80, sm90a"},
		countFlag("threads", 0, 0, maxThreads, "`N`; 0: one per core that this process may use"),
		&cli.StringFlag{Name: "models", Usage: "`NAMES` of shapes: d128 (0.9 M parameters), d256 (5.2 M), q05 (Qwen2.5-0.5B), " +
			"of rollout and train also tiny, q15, q3, q7, q32; none: the first two, on a GPU q05, on emu tiny"},
		&cli.StringFlag{Name: "dtype", Value: "auto", Usage: "of models in memory: float32, bfloat16; auto: float32, on a GPU bfloat16"},
		&cli.StringFlag{Name: "json", Usage: "write the rows to `FILE`, after each one"},
		timeFlag("budget", 0, "`TIME` for each row"),
	}
	sub := func(name, usage string, f measure, flags ...cli.Flag) *cli.Command {
		return &cli.Command{
			Name: name, Usage: usage, Flags: append(flags, common...),
			Action: func(c *cli.Context) error {
				if err := unusedFlags(c, "json"); err != nil {
					return err
				}
				return benchModels(c, f)
			},
		}
	}
	ops := &cli.StringFlag{Name: "ops", Usage: "only operations whose name contains one of `NAMES`; on a GPU these are regular expressions"}
	onAny := func(c *cli.Context, d kernels.Device, o bench.Options) ([]bench.Row, error) {
		return bench.Kernels(d, bench.KernelOptions{
			Models: o.Models, Ops: list(c.String("ops")), Budget: o.Budget, Floor: o.Floor, Report: o.Report,
		})
	}
	kernelsOn := sub("kernels", "every operation at the shapes of training and decode", onAny, ops,
		&cli.StringFlag{Name: "peers", Usage: "gpu: compare with what bench/peers.py wrote to `FILE`, and take the rate of matrices from there"},
		&cli.BoolFlag{Name: "resume", Usage: "gpu: go on from the file of --json: what it has is not measured again, what failed is passed over"},
		&cli.StringFlag{Name: "cases", Usage: "write the cases of a GPU, for bench/peers.py, to `FILE`, and measure nothing"})
	rollout := func(c *cli.Context, d kernels.Device, o bench.Options) ([]bench.Row, error) {
		return bench.Rollout(c.Context, d, o)
	}
	train := func(c *cli.Context, d kernels.Device, o bench.Options) ([]bench.Row, error) {
		return bench.Train(c.Context, d, o)
	}
	folder := &cli.StringFlag{Name: "model", Usage: "the shape of the model in `DIR` in place of --models; its weights are drawn anew"}
	batches := &cli.StringFlag{Name: "batches", Usage: "`N,…` sequences of a decode; none: 1, 8, 32, 64, on a GPU up to 256"}
	measured := kernelsOn.Action
	onCPU := func(c *cli.Context) error {
		models := list(c.String("models"))
		err := bench.CheckModels(models)
		if err == nil {
			err = bench.CheckKernels(bench.KernelOptions{Models: models, Ops: list(c.String("ops"))})
		}
		if err != nil {
			return err
		}
		return measured(c)
	}
	kernelsOn.Action = func(c *cli.Context) error {
		where := "on device " + c.String("device")
		run, idle := onCPU, []string{"peers", "resume"}
		if c.String("cases") != "" {
			where = "with --cases"
		}
		if c.String("device") != "cpu" || c.String("cases") != "" {
			run, idle = benchGPU, []string{"models", "dtype", "threads", "budget"}
		}
		for _, flag := range idle {
			if c.IsSet(flag) {
				return fmt.Errorf("bench kernels: --%s would do nothing %s", flag, where)
			}
		}
		return run(c)
	}
	return &cli.Command{
		Name: "bench", Usage: "how fast: operations, rollouts, training steps and the sandbox, each beside what this machine can do; " +
			"and what each algorithm learns",
		Subcommands: []*cli.Command{
			kernelsOn,
			sub("rollout", "prefill and decode through the engine, sampling included", rollout, folder, batches),
			sub("train", "training steps, and whole steps of reinforcement learning", train, folder),
			sandboxBench(),
			algorithmsBench(),
			onGPU("load", "compile every kernel with the driver's compiler, and compare with the manifest", loadOnGPU),
			onGPU("smoke", "every operation once, at small ragged shapes, compared with the CPU", smokeOnGPU, ops),
			onGPU("probes", "single instructions, compared with the emulator", probeGPU),
		},
		Action: func(c *cli.Context) error {
			return fmt.Errorf("bench: want kernels, rollout, train, sandbox, algorithms, load, smoke or probes, got %q", c.Args().First())
		},
	}
}

// measure is one of bench's functions that run on any device.
type measure func(c *cli.Context, dev kernels.Device, o bench.Options) ([]bench.Row, error)

// benchModels measures on any device, prints the rows and writes them to the file of --json, the latter after each one.
func benchModels(c *cli.Context, f measure) error {
	name := c.String("device")
	if err := checkDType(name, c.String("dtype")); err != nil {
		return fmt.Errorf("bench: --%w", err)
	}
	if c.String("model") != "" && c.String("models") != "" {
		return errors.New("bench: want one of --model, a folder, and --models, names of shapes")
	}
	if err := checkDevice(name, c.String("variant")); err != nil {
		return fmt.Errorf("bench: --%w", err)
	}
	if err := bench.CheckModels(list(c.String("models"))); err != nil {
		return err
	}
	if dir := c.String("model"); dir != "" {
		if _, err := readModelConfig(dir); err != nil {
			return fmt.Errorf("bench: --%w", err)
		}
	}
	var batches []int
	for _, text := range list(c.String("batches")) {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1<<16 {
			return fmt.Errorf("bench: --batches: want numbers of sequences from 1 to %d with commas between them, got %q", 1<<16, text)
		}
		batches = append(batches, n)
	}
	dev, err := openDevice(name, c.String("variant"), c.Int("threads"))
	if err != nil {
		return err
	}
	defer dev.Close()
	defer endsWith(c.Context)()
	gpu, onGPU := dev.(*kernels.GPU)
	o := bench.Options{
		Models: list(c.String("models")), Folder: c.String("model"), Batches: batches, Budget: c.Duration("budget"),
		DType: dtypeOf(name, c.String("dtype"), model.Config{}),
	}
	if name == "emu" && len(o.Models) == 0 {
		o.Models = []string{"tiny"}
	}
	if onGPU {
		ceilings, floor, err := bench.GPUFloor(gpu, bench.GPUOptions{Emulated: name == "emu"})
		if err != nil {
			return err
		}
		fmt.Println(ceilings)
		o.Floor = &floor
	} else {
		fmt.Printf("%s, %s, %s\n", deviceText(dev.Info()), runtime.Version(), time.Now().UTC().Format("2006-01-02"))
		floor := bench.Calibrate(dev)
		o.Floor = &floor
	}
	var soFar []bench.Row
	o.Report = func(r bench.Row) error {
		soFar = append(soFar, r)
		fmt.Fprintf(os.Stderr, "bench: %s %s\n", r.Op, r.Shape)
		return writeRows(c.String("json"), soFar)
	}
	rows, err := f(c, dev, o)
	if !onGPU && err == nil {
		o.Floor.Again(dev)
		o.Floor.Share(rows)
		rows = append(o.Floor.Rows(), rows...)
	}
	if len(rows) > 0 {
		bench.Print(os.Stdout, rows)
	}
	if err != nil {
		return err
	}
	return writeRows(c.String("json"), rows)
}

// endsWith ends the process soon after ctx: what measures an operation looks at none. The function it returns takes that back.
func endsWith(ctx context.Context) func() bool {
	return context.AfterFunc(ctx, func() {
		time.Sleep(300 * time.Millisecond) // for what does, and may say more
		fail(interruption{interrupted(os.Args[1:])})
	})
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
