package main

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"retool/bench"
	"retool/engine"
	"retool/engine/model"
	"retool/kernels"
	"retool/kernels/controlgroup"
	"retool/trainer/dist"
)

// A budget holds a program to its plan: it is refused before any device is taken if it cannot fit, and what it took is shown beside the
// plan when it ends. A nil budget, of an emulated device and of what samples on the CPU, says nothing.
type budget struct {
	plan *plan
}

// memoryLimit is how much there is, and who says so.
type memoryLimit struct {
	bytes int64
	of    string
}

// newBudget plans a run, or what else a configuration is used for. The error is that it does not fit, in a sentence; a configuration that
// cannot be planned is left to the program to refuse, where it builds what is missing.
//
// id is who of how many ranks this is: those of one host share the memory of its CPU.
func newBudget(cfg *Config, u use, id dist.ID) (*budget, error) {
	if err := cfg.used(u).heldFits(u.train, id); err != nil {
		return nil, err
	}
	if cfg.Device == "emu" {
		return nil, nil
	}
	shape, err := plannedShape(cfg, "")
	if u.from != "" {
		shape, err = model.ReadConfig(u.from)
	}
	if err != nil || shape.MaxPositions < cfg.Engine.MaxTokens {
		return nil, nil
	}
	limit := roomOn(cfg.Device, id)
	p, err := plannedUse(cfg, u, shape, limit.bytes, max(1, id.Size))
	if err != nil {
		return nil, nil
	}
	if p.Peak > limit.bytes {
		what, also := "sampling", ""
		if u.train {
			what, also = "the run", fmt.Sprintf("; `retool plan --device %s` shows all", cfg.Device)
		}
		return nil, fmt.Errorf("memory: %s takes %s, %s has %s: most of it is for %s%s",
			what, gibibytes(p.Peak), limit.of, gibibytes(limit.bytes), p.counted.largest(), also)
	}
	if cfg.Device == "cpu" && !u.train {
		return nil, nil // it fits, and says no more of it
	}
	if m := p.counted; cfg.Device == "cpu" && os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent(p.Peak - m.program - m.garbage))
	}
	return &budget{plan: p}, nil
}

// roomOn is the memory that a device has for one rank; unlimited where it is not known.
func roomOn(device string, id dist.ID) memoryLimit {
	limit, known := machineMemory()
	if n := int64(id.LocalSize); n > 1 {
		limit = memoryLimit{limit.bytes / n, fmt.Sprintf("each of %d ranks on %s", n, limit.of)}
	}
	if device == "gpu" {
		limit, known = gpuMemory()
	}
	if !known || device == "emu" {
		limit.bytes = unlimited
	}
	return limit
}

// used is the configuration as far as a use of it goes: what only samples neither learns nor, but for an evaluation, evaluates.
func (c *Config) used(u use) *Config {
	if u.train {
		return c
	}
	part := *c
	part.SFT.Steps, part.SFT.Epochs, part.RL.Steps = 0, 0, 0
	if u.concurrent != c.Eval.Problems*c.Eval.Samples {
		part.Eval.Samples = 0
	}
	return &part
}

// modelFits refuses a model with so many KV pages that the device of the flags has no room for, by one that counts.
func modelFits(c *cli.Context, shape model.Config, opt model.Options, pages int) error {
	device := c.String("device")
	if checkDevice(device, "") != nil || checkDType(device, c.String("dtype")) != nil {
		return nil // whoever opens it says so
	}
	dev, err := newCounting(device)
	if err != nil {
		return err
	}
	defer dev.Close()
	m, err := model.New(dev, shape, opt)
	if err != nil {
		return nil // so does whoever makes it
	}
	weights := dev.Peak()
	if pages > 0 {
		if err := m.OpenKV(pages); err != nil {
			return err
		}
	}
	limit := roomOn(device, dist.ID{Size: 1, LocalSize: 1})
	if n := dev.Peak(); n > limit.bytes {
		return fmt.Errorf("memory: it takes %s, %s has %s: model %s, KV pages %s", gibibytes(n), limit.of, gibibytes(limit.bytes),
			gibibytes(weights), gibibytes(n-weights))
	}
	return nil
}

// heldFits refuses counts of settings whose data the host cannot hold.
func (c *Config) heldFits(train bool, id dist.ID) error {
	limit := roomOn("cpu", id)
	parts := c.held(train, max(1, id.Size))
	sum := 0.0
	for _, p := range parts {
		sum += p.bytes
	}
	if sum <= float64(limit.bytes) {
		return nil
	}
	most := slices.MaxFunc(parts, func(a, b hostPart) int { return cmp.Compare(a.bytes, b.bytes) })
	return fmt.Errorf("memory: %s can take %s, %s has %s", most.what, gibibytes(int64(most.bytes)), limit.of, gibibytes(limit.bytes))
}

// kvMemory is what the plan gives to KV pages, in MiB; 0: the engine's choice.
func (b *budget) kvMemory() int {
	if b == nil {
		return 0
	}
	return b.plan.KVMemory
}

// lends is the line on pages that are lent; "": none are.
func (b *budget) lends() string {
	if b == nil || b.plan.Lent == 0 {
		return ""
	}
	return "memory    " + b.plan.lends()
}

// garbagePercent lets Go collect before garbage beside so many bytes of tensors is more than 32 MiB, or 2 % of them: the collector need
// not read tensors, so that to collect often costs little. A run that is small is left as it is.
func garbagePercent(bytes int64) int {
	const garbage, small = 32 << 20, 256 << 20
	if bytes < small {
		return 100
	}
	return int(max(2, 100*garbage/bytes))
}

// collects is the percentage of its live bytes that Go lets garbage grow to: as GOGC says, or else garbagePercent.
func collects(bytes int64) int {
	text := os.Getenv("GOGC")
	if n, err := strconv.Atoi(text); err == nil && n >= 0 {
		return n
	}
	if text != "" { // off, which counts no end of it
		return 0
	}
	return garbagePercent(bytes)
}

// ended says what the run took beside what was planned.
func (b *budget) ended(dev kernels.Device, e *engine.Engine) string {
	if b == nil {
		return ""
	}
	m := b.plan.counted
	line := "memory    planned " + gibibytes(b.plan.Peak-m.data-m.program-m.garbage)
	if g, ok := dev.(*kernels.GPU); ok {
		return line + fmt.Sprintf(", at most %s were allocated on the GPU", gibibytes(g.Peak()))
	}
	line += " of tensors"
	for _, p := range []struct {
		of    string
		bytes int64
	}{{"data", m.data}, {"program", m.program}, {"garbage", m.garbage}} {
		line += fmt.Sprintf(", %s of %s", gibibytes(p.bytes), p.of)
	}
	if n, ok := peakResident(); ok {
		line += fmt.Sprintf("; at most %s were resident", gibibytes(n))
		if spare := e.SparePages(); int64(spare)*m.page >= 1<<20 {
			line += fmt.Sprintf(": %d of %d KV pages, %s, were never used", spare, e.Pages(), gibibytes(int64(spare)*m.page))
		}
	}
	return line
}

// peakResident is the most memory that this process has had in use, in bytes.
func peakResident() (int64, bool) { return kibibytes("/proc/self/status", "VmHWM:") }

// kibibytes is the value of a line "NAME: n kB" of a file, in bytes.
func kibibytes(path, name string) (int64, bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == name {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			return n << 10, err == nil
		}
	}
	return 0, false
}

// machineMemory is this machine's, or what a control group of this process allows of it. False: not known.
func machineMemory() (memoryLimit, bool) {
	n, ok := kibibytes("/proc/meminfo", "MemTotal:")
	limit := memoryLimit{n, "this machine"}
	if n, found := groupLimit(controlgroup.Of("/proc/self")); found && (!ok || n < limit.bytes) {
		return memoryLimit{n, "the control group of this process"}, true
	}
	return limit, ok
}

// groupLimit is the smallest limit of memory of the groups of a process and those above them.
func groupLimit(groups controlgroup.Groups) (least int64, found bool) {
	for controller, file := range map[string]string{controlgroup.Unified: "memory.max", "memory": "memory.limit_in_bytes"} {
		for dir := range groups[controller].Up() {
			text, err := os.ReadFile(filepath.Join(dir, file))
			n, wrong := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64) // "max": none
			if err == nil && wrong == nil && n > 0 && (!found || n < least) {
				least, found = n, true
			}
		}
	}
	return least, found
}

// gpuMemory is that of the largest GPU, by NVML, without taking it. False: not known.
func gpuMemory() (memoryLimit, bool) {
	n, err := bench.GPUMemory()
	return memoryLimit{n, "the GPU"}, err == nil
}
