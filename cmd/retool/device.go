package main

import (
	"fmt"
	"slices"
	"strings"

	"retool/engine/model"
	"retool/kernels"
	"retool/kernels/driver"
	"retool/kernels/emu"
	"retool/trainer/dist"
)

// variants are the kernels that a device can be told to use.
var variants = map[string][]string{"cpu": {"avx512bf16", "avx512", "avx2", "go"}, "gpu": {"sm80", "sm90a"}, "emu": {"sm80", "sm90a"}}

// checkDevice says whether there is such a device, and on it such kernels; "" is the device's own choice.
func checkDevice(name, variant string) error {
	known, ok := variants[name]
	if !ok {
		return fmt.Errorf("device: %q is not known (known: cpu, gpu, emu)", name)
	}
	if variant != "" && !slices.Contains(known, variant) {
		return fmt.Errorf("variant: %q is not known on device %s (known: %s)", variant, name, strings.Join(known, ", "))
	}
	return nil
}

// openDevice opens a device by its name in the configuration. There is no automatic choice: a job that asked for a GPU and got a CPU
// is a lost night.
func openDevice(name, variant string, threads int) (kernels.Device, error) {
	return openRankDevice(name, variant, threads, dist.ID{Size: 1, LocalSize: 1})
}

// openRankDevice opens the one that is a rank's.
func openRankDevice(name, variant string, threads int, id dist.ID) (kernels.Device, error) {
	if err := checkDevice(name, variant); err != nil {
		return nil, err
	}
	if name == "cpu" {
		if variant == "" {
			return kernels.NewCPU(threads), nil
		}
		return kernels.NewCPUVariant(threads, variant)
	}
	capability := 80 // of the emulated one
	if variant == "sm90a" {
		capability = 90
	}
	open := kernels.OpenGPU
	if name == "emu" {
		open = func(int) (*kernels.GPU, error) {
			return kernels.NewGPU(emu.New(emu.Options{Capability: capability, Queued: true}))
		}
	}
	ordinal := 0
	if name == "gpu" {
		visible, err := driver.Count()
		if err == nil {
			ordinal, err = gpuOrdinal(id, visible)
		}
		if err != nil {
			return nil, err
		}
	}
	g, err := open(ordinal)
	if err != nil {
		return nil, err
	}
	if variant == "sm90a" {
		if err := g.Hopper(); err != nil {
			g.Close()
			return nil, err
		}
	}
	return g, nil
}

// dtypes are the values of model.dtype and --dtype.
var dtypes = []string{"auto", "float32", "bfloat16"}

// checkDType says whether a device holds models in a type.
func checkDType(device, name string) error {
	switch {
	case !slices.Contains(dtypes, name):
		return fmt.Errorf("dtype: %q is not known (known: %s)", name, strings.Join(dtypes, ", "))
	case name == "float32" && device != "cpu":
		return fmt.Errorf("dtype: float32: device %s holds models in bfloat16: want auto or bfloat16", device)
	}
	return nil
}

// dtypeOf is what weights, keys and values and activations of a model are in memory: bf16 on GPUs, whose products take nothing else at
// speed; on the CPU what was asked for, by default what the model's folder says.
func dtypeOf(device, name string, c model.Config) kernels.DType {
	if device != "cpu" || name == "bfloat16" || name == "auto" && c.DType == kernels.BF16 {
		return kernels.BF16
	}
	return kernels.F32
}

// openGPU opens a device that must be a GPU, or the emulator of one.
func openGPU(name, variant string) (*kernels.GPU, error) {
	dev, err := openDevice(name, variant, 0)
	if err != nil {
		return nil, err
	}
	gpu, ok := dev.(*kernels.GPU)
	if !ok {
		dev.Close()
		return nil, fmt.Errorf("device: %q is no GPU: want gpu or emu", name)
	}
	return gpu, nil
}
