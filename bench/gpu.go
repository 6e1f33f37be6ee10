package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"retool/engine/jsonfile"
	"retool/kernels"
	"retool/kernels/driver"
)

// GPURow is a case measured on a GPU: Row's figures, and how they came about.
type GPURow struct {
	Row
	Goal    string  `json:"goal"`
	Variant string  `json:"variant"`   // of the kernels: sm80, sm90a
	Median  float64 `json:"us"`        // microseconds
	Low     float64 `json:"us_p10"`    //
	High    float64 `json:"us_p90"`    //
	Floor   float64 `json:"us_floor"`  // what the ceilings allow
	Clock   float64 `json:"clock_mhz"` // of the multiprocessors at the end; 0: unknown
	Peer    string  `json:"peer,omitempty"`
	Ratio   float64 `json:"ratio,omitempty"` // the fastest peer's time divided by ours: above 1 we are faster
}

// Ceilings is what a GPU can do at all.
type Ceilings struct {
	Copy   float64 `json:"copy_tb_s"`       // a copy within the GPU's memory, read and write counted, TB/s
	Matrix float64 `json:"matrix_tflop_s"`  // bf16 products, TFLOP/s
	Source string  `json:"matrix_source"`   // where Matrix is from
	Clock  float64 `json:"clock_mhz"`       // of the multiprocessors under the copy
	Power  float64 `json:"power_w"`         //
	Temp   float64 `json:"temperature_c"`   //
	Driver string  `json:"driver"`          //
	GPU    string  `json:"gpu"`             //
	NVML   string  `json:"nvml,omitempty"`  // why clocks are unknown
	Date   string  `json:"date,omitempty"`  //
	Torch  string  `json:"torch,omitempty"` // of the peers
}

// Peers is what peers.py writes: ceilings of vendor libraries, and the times of other implementations of the same cases.
type Peers struct {
	Torch  string  `json:"torch"`
	Matrix float64 `json:"matrix_tflop_s"` // torch.mm, 8192³
	Rows   []struct {
		Op    string  `json:"op"`
		Shape string  `json:"shape"`
		Peer  string  `json:"peer"`
		US    float64 `json:"us"`
	} `json:"rows"`
}

// ReadPeers reads the file that peers.py wrote.
func ReadPeers(path string) (*Peers, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("bench: peers: %w", err)
	}
	p := &Peers{}
	if err := jsonfile.Unmarshal(text, p); err != nil {
		return nil, fmt.Errorf("bench: peers: %s: %w", path, err)
	}
	return p, nil
}

// WriteCases writes the cases for peers.py.
func WriteCases(w io.Writer, cases []Case) error {
	type named struct {
		Case
		Shape string `json:"shape"`
	}
	var all []named
	for _, c := range cases {
		all = append(all, named{c, c.Shape()})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(all)
}

// matrixPerClock is bf16 operations with fp32 sums that one multiprocessor starts a clock, without sparsity (NVIDIA's data sheets: 312
// TFLOP/s of 108 at 1.41 GHz, 989 of 132 at 1.83 GHz).
func matrixPerClock(capability int) float64 {
	switch {
	case capability == 80:
		return 2048
	case capability < 90: // sm_86, sm_89
		return 1024
	default:
		return 4096
	}
}

const gpuWarm, gpuTimes = 5, 24

// gpuBench measures on one device.
type gpuBench struct {
	dev     *kernels.GPU
	watch   clockWatch
	noClock error // why watch knows none
	events  []driver.Event
	flush   driver.Ptr
	info    driver.Info
	flushed int // bytes: more than any second-level cache holds; writing them hides the host's work on the next launch
	copied  int // bytes that the copy moves
}

func newGPUBench(dev *kernels.GPU, o GPUOptions) (*gpuBench, error) {
	at := 0
	if n, err := strconv.Atoi(strings.Split(os.Getenv("CUDA_VISIBLE_DEVICES"), ",")[0]); err == nil {
		at = n
	}
	b := &gpuBench{dev: dev, flushed: 512 << 20, copied: 1 << 30}
	if o.Emulated {
		b.flushed, b.copied = 4<<10, 4<<10
	}
	b.watch, b.noClock = watchClocks(at)
	err := dev.Raw(func(drv driver.Driver) (err error) {
		b.info = drv.Info()
		for range 2 * (gpuWarm + gpuTimes) {
			e, err := drv.NewEvent()
			if err != nil {
				return err
			}
			b.events = append(b.events, e)
		}
		b.flush, err = drv.Alloc(b.flushed)
		return err
	})
	if err != nil {
		b.watch.close()
	}
	return b, err
}

func (b *gpuBench) close() {
	b.watch.close()
	b.dev.Raw(func(drv driver.Driver) error { return drv.Free(b.flush) }) // a failure stays with the device
}

// times runs f over and over, from a cold cache each time, and returns each time in microseconds, ascending, and the clock at the end.
func (b *gpuBench) times(f func()) (us []float64, clock float64, err error) {
	const n = gpuWarm + gpuTimes
	mark := func(i int) func(driver.Driver) error {
		return func(drv driver.Driver) error {
			if i%2 == 0 {
				if err := drv.Fill32(0, b.flush, uint32(i), b.flushed/4); err != nil {
					return err
				}
			}
			return drv.Record(b.events[i], 0)
		}
	}
	err = b.dev.Do(func() {
		for i := range n {
			b.dev.Raw(mark(2 * i)) // a failure stays with the device: Do returns it
			f()
			b.dev.Raw(mark(2*i + 1))
		}
	})
	if err != nil {
		return nil, 0, err
	}
	clock = b.watch.read().SMClock
	err = b.dev.Raw(func(drv driver.Driver) error {
		for i := gpuWarm; i < n; i++ {
			ms, err := drv.Elapsed(b.events[2*i], b.events[2*i+1])
			if err != nil {
				return err
			}
			us = append(us, max(1000*float64(ms), 0.5)) // what an event resolves
		}
		return nil
	})
	slices.Sort(us)
	return us, clock, err
}

// ceilings measures the copy, and takes the rate of matrices from the peers, or from the data sheet at the clock of now.
func (b *gpuBench) ceilings(peers *Peers) (Ceilings, error) {
	c := Ceilings{GPU: b.info.Name, Driver: b.info.Version, Date: time.Now().UTC().Format("2006-01-02")}
	if b.noClock != nil {
		c.NVML = b.noClock.Error()
	}
	var from, to driver.Ptr
	err := b.dev.Raw(func(drv driver.Driver) (err error) {
		if from, err = drv.Alloc(b.copied); err != nil {
			return err
		}
		if to, err = drv.Alloc(b.copied); err != nil {
			return err
		}
		return drv.Fill32(0, from, 0x3f9d70a4, b.copied/4)
	})
	if err != nil {
		return c, err
	}
	us, clock, err := b.times(func() {
		b.dev.Raw(func(drv driver.Driver) error { return drv.Copy(0, to, from, b.copied) })
	})
	if err != nil {
		return c, err
	}
	c.Copy = 2 * float64(b.copied) / us[len(us)/2] / 1e6
	s := b.watch.read()
	c.Clock, c.Power, c.Temp = zeroNaN(clock), zeroNaN(s.Power), zeroNaN(s.Temperature)
	if peers != nil && peers.Matrix > 0 {
		c.Matrix, c.Source, c.Torch = peers.Matrix, "torch.mm 8192³ in the same run", peers.Torch
	} else {
		mhz := c.Clock
		c.Source = "data sheet at the clock of the copy"
		if mhz == 0 {
			mhz, c.Source = 1755, "data sheet at 1755 MHz, for want of NVML"
		}
		c.Matrix = matrixPerClock(b.info.Capability) * float64(b.info.Multiprocessors) * mhz / 1e6
	}
	return c, b.dev.Raw(func(drv driver.Driver) error {
		if err := drv.Free(from); err != nil {
			return err
		}
		return drv.Free(to)
	})
}

// GPUFloor measures the ceilings of a GPU.
func GPUFloor(dev *kernels.GPU, o GPUOptions) (Ceilings, Floor, error) {
	var r GPUReport
	err := GPUKernels(dev, nil, o, &r, func() error { return nil })
	return r.Ceilings, Floor{Threads: dev.Info().Threads, FLOPs: 1e12 * r.Ceilings.Matrix, Read: 1e12 * r.Ceilings.Copy}, err
}

func zeroNaN(x float64) float64 {
	if math.IsNaN(x) {
		return 0
	}
	return x
}

// measure is one case. A case during which the clock moved by more than 3 % is measured again, twice at most.
func (b *gpuBench) measure(c Case, ceil Ceilings) (GPURow, error) {
	r := GPURow{Goal: c.Goal, Variant: b.dev.Info().Variant, Row: Row{Op: c.Op, Shape: c.Shape()}}
	w, err := prepare(b.dev, kernels.BF16, normals(), c)
	defer w.close()
	if err != nil {
		return r, err
	}
	var us []float64
	for range 3 {
		before := b.watch.read().SMClock
		var clock float64
		if us, clock, err = b.times(w.run); err != nil {
			return r, err
		}
		r.Clock = zeroNaN(clock)
		if !(math.Abs(clock-before) > 0.03*before) {
			break
		}
	}
	at := func(q float64) float64 { return us[int(math.Round(q*float64(len(us)-1)))] }
	r.Median, r.Low, r.High = at(0.5), at(0.1), at(0.9)
	compute, memory := c.FLOP/ceil.Matrix/1e6, c.Bytes/ceil.Copy/1e6
	r.Floor = max(compute, memory)
	if compute > memory {
		r.Value, r.Unit = c.FLOP/r.Median/1e6, "TFLOP/s"
	} else {
		r.Value, r.Unit = c.Bytes/r.Median/1e6, "TB/s"
	}
	r.OfPeak = r.Floor / r.Median
	return r, nil
}

// GPUOptions selects what GPUKernels and Smoke run.
type GPUOptions struct {
	Ops      []*regexp.Regexp // one of them has a match in an operation's name; none: all
	Peers    *Peers           // none: no ratios
	Emulated bool             // buffers of kilobytes: an emulator gets through them, and its times mean nothing
}

func (o GPUOptions) wants(c Case) bool {
	return len(o.Ops) == 0 || slices.ContainsFunc(o.Ops, func(r *regexp.Regexp) bool { return r.MatchString(c.Op) })
}

// A GPUCase names a case on kernels of a variant.
type GPUCase struct {
	Op      string `json:"op"`
	Shape   string `json:"shape"`
	Variant string `json:"variant"`
}

// A GPUFailure is a case that gave no figure.
type GPUFailure struct {
	GPUCase
	Why string `json:"why"`
}

// GPUReport is what has been measured on a GPU so far. It is stored after every case, so that a process that is cut loses one case at most,
// and one that begins from it goes on where that one ended.
type GPUReport struct {
	Ceilings Ceilings     `json:"ceilings"`
	Rows     []GPURow     `json:"rows"`
	Failed   []GPUFailure `json:"failed,omitempty"`
	Begun    *GPUCase     `json:"begun,omitempty"` // at work when the report was stored
}

// Resume turns the case that the report's process did not finish into a failure.
func (r *GPUReport) Resume() {
	if r.Begun != nil {
		r.Failed = append(r.Failed, GPUFailure{*r.Begun, "did not finish: the process was stopped in it"})
		r.Begun = nil
	}
}

func (r *GPUReport) has(c GPUCase) bool {
	return slices.ContainsFunc(r.Rows, func(x GPURow) bool { return GPUCase{x.Op, x.Shape, x.Variant} == c }) ||
		slices.ContainsFunc(r.Failed, func(x GPUFailure) bool { return x.GPUCase == c })
}

// Compare puts the fastest peer beside each row.
func (r *GPUReport) Compare(p *Peers) {
	for i := range r.Rows {
		r.Rows[i].compare(p)
	}
}

// GPUKernels measures the cases on a GPU that the report does not have, and adds them; store is called whenever the report has changed. A
// case's failure ends it, for the device keeps it: the report says which it was, and with a new device in a new process the call goes on
// after it.
func GPUKernels(dev *kernels.GPU, cases []Case, o GPUOptions, r *GPUReport, store func() error) error {
	variant := dev.Info().Variant
	cases = slices.DeleteFunc(slices.Clone(cases), func(c Case) bool { return !o.wants(c) || r.has(GPUCase{c.Op, c.Shape(), variant}) })
	if r.Ceilings.GPU != "" && len(cases) == 0 {
		return nil
	}
	b, err := newGPUBench(dev, o)
	if err != nil {
		return err
	}
	defer b.close()
	if r.Ceilings.GPU == "" {
		if r.Ceilings, err = b.ceilings(o.Peers); err != nil {
			return err
		}
	}
	for _, c := range cases {
		r.Begun = &GPUCase{c.Op, c.Shape(), variant}
		if err := store(); err != nil {
			return err
		}
		row, err := b.measure(c, r.Ceilings)
		if err != nil {
			r.Failed, r.Begun = append(r.Failed, GPUFailure{*r.Begun, err.Error()}), nil
			return errors.Join(fmt.Errorf("bench: %s %s: %w", c.Op, c.Shape(), err), store())
		}
		row.compare(o.Peers)
		r.Rows, r.Begun = append(r.Rows, row), nil
		if err := store(); err != nil {
			return err
		}
	}
	return nil
}

// compare finds the fastest peer of a row.
func (r *GPURow) compare(p *Peers) {
	if p == nil {
		return
	}
	r.Peer, r.Ratio = "", 0
	best := math.Inf(1)
	for _, x := range p.Rows {
		if x.Op == r.Op && x.Shape == r.Shape && x.US > 0 && x.US < best {
			best, r.Peer, r.Ratio = x.US, x.Peer, x.US/r.Median
		}
	}
}

// String is the ceilings in a line.
func (c Ceilings) String() string {
	s := fmt.Sprintf("%s, driver %s: copy %.2f TB/s, bf16 matrices %.0f TFLOP/s (%s)", c.GPU, c.Driver, c.Copy, c.Matrix, c.Source)
	if c.NVML != "" {
		return s + "; " + c.NVML
	}
	return s + fmt.Sprintf(", %.0f MHz, %.0f W, %.0f °C", c.Clock, c.Power, c.Temp)
}

// PrintGPU writes rows as a Markdown table, which reads well in a terminal too.
func PrintGPU(w io.Writer, rows []GPURow) {
	head := []string{"goal", "op", "shape", "kernels", "µs", "p10 – p90", "floor µs", "rate", "of floor", "MHz", "against"}
	all := [][]string{head}
	for _, r := range rows {
		peer := ""
		if r.Peer != "" {
			peer = fmt.Sprintf("%.2f× %s", r.Ratio, r.Peer)
		}
		clock := "?"
		if r.Clock > 0 {
			clock = fmt.Sprintf("%.0f", r.Clock)
		}
		all = append(all, []string{
			r.Goal, r.Op, r.Shape, r.Variant, fmt.Sprintf("%.1f", r.Median), fmt.Sprintf("%.1f – %.1f", r.Low, r.High),
			fmt.Sprintf("%.1f", r.Floor),
			fmt.Sprintf("%.4g %s", r.Value, r.Unit), fmt.Sprintf("%.1f %%", 100*r.OfPeak), clock, peer,
		})
	}
	width := make([]int, len(head))
	for _, row := range all {
		for i, cell := range row {
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	for i, row := range all {
		for j, cell := range row {
			fmt.Fprintf(w, "| %s%s ", cell, strings.Repeat(" ", width[j]-len([]rune(cell))))
		}
		fmt.Fprintln(w, "|")
		if i == 0 {
			for j := range row {
				fmt.Fprintf(w, "|%s", strings.Repeat("-", width[j]+2))
			}
			fmt.Fprintln(w, "|")
		}
	}
}
