package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"retool/kernels"
	"retool/kernels/driver"
	"retool/kernels/emu"
	"retool/kernels/ptx"
)

func emulated(t *testing.T) *kernels.GPU {
	dev, err := kernels.NewGPU(emu.New(emu.Options{Capability: 80}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

// What is measured on a GPU is run on the emulated one, under its checker, and compared with the CPU.
func TestSmokeComparesEveryOperation(t *testing.T) {
	rows, err := Smoke(emulated(t), SmokeCases(), GPUOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(SmokeCases()) {
		t.Errorf("%d rows of %d cases", len(rows), len(SmokeCases()))
	}
	for _, r := range rows {
		if !r.OK {
			t.Errorf("%s %s is off by %v", r.Op, r.Shape, r.Error)
		}
	}
	have := map[string]bool{"append kv": true} // paged attention reads what it wrote
	for _, c := range SmokeCases() {
		have[c.Op] = true
	}
	for _, o := range operations {
		if !have[o.name] {
			t.Errorf("%s is measured and not checked", o.name)
		}
	}
}

// What is measured end to end on a GPU runs on the emulated one: bf16 weights, sequences that share a prompt.
func TestRolloutAndTrainRunOnAGPU(t *testing.T) {
	dev := emulated(t)
	var reported []Row
	report := func(r Row) error { reported = append(reported, r); return nil }
	o := Options{Models: []string{"tiny"}, Budget: 1, Floor: &Floor{Threads: 4, FLOPs: 1e12, Read: 1e12}, Report: report}
	rows, err := Rollout(t.Context(), dev, o)
	if err != nil {
		t.Fatal(err)
	}
	trained, err := Train(t.Context(), dev, o)
	if err != nil {
		t.Fatal(err)
	}
	rows = append(rows, trained...)
	if !reflect.DeepEqual(rows, reported) {
		t.Errorf("reported %+v of %+v", reported, rows)
	}
	var shapes []string
	for _, r := range rows {
		shapes = append(shapes, r.Op+" "+r.Shape)
		if !(r.Value > 0) || !(r.OfPeak > 0) {
			t.Errorf("implausible row %+v", r)
		}
		if r.Op == "train" { // draws nothing
			if r.Difference != nil {
				t.Errorf("%s has |Δlogp| %v", r.Shape, *r.Difference)
			}
		} else if r.Difference == nil || *r.Difference != 0 {
			t.Errorf("%s %s: |Δlogp| is %v, want 0", r.Op, r.Shape, r.Difference)
		}
	}
	want := []string{"prefill tiny pp24", "decode tiny B1 ctx10", "decode tiny B3 ctx10", "train tiny T32 S16", "rl-step tiny 2x2x6"}
	if !slices.Equal(shapes, want) {
		t.Errorf("rows are %q, want %q", shapes, want)
	}
}

// Measuring, from the ceilings to the table, on a GPU whose events mean nothing.
func TestGPUKernelsMakesRows(t *testing.T) {
	cases := []Case{newCase("h1", "linear", dims{"T": 16, "N": 16, "M": 16}), newCase("f1", "add", dims{"T": 4, "C": 16})}
	var peers Peers
	if err := json.Unmarshal([]byte(`{"torch":"2.11","matrix_tflop_s":700,"rows":[
		{"op":"add","shape":"T 4 C 16","peer":"slow","us":3e9},
		{"op":"add","shape":"T 4 C 16","peer":"torch","us":2e9},{"op":"add","shape":"T 5 C 16","peer":"other","us":1}]}`), &peers); err != nil {
		t.Fatal(err)
	}
	var r GPUReport
	if err := GPUKernels(emulated(t), cases, GPUOptions{Peers: &peers, Emulated: true}, &r, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	ceil, rows := r.Ceilings, r.Rows
	if ceil.Matrix != 700 || !(ceil.Copy > 0) || ceil.GPU == "" || ceil.Driver == "" {
		t.Errorf("ceilings are %+v", ceil)
	}
	if len(rows) != 2 || rows[1].Peer != "torch" || !(rows[1].Ratio > 1) || rows[0].Peer != "" {
		t.Fatalf("rows are %+v", rows)
	}
	for _, r := range rows {
		if !(r.Low <= r.Median && r.Median <= r.High && r.Low > 0) || !(r.OfPeak > 0) || r.OfPeak != r.Floor/r.Median {
			t.Errorf("implausible row %+v", r)
		}
	}
	text, err := json.Marshal(rows[0])
	if err != nil || !strings.HasPrefix(string(text), `{"op":"linear","shape":"T 16 N 16 M 16","value":`) ||
		!strings.Contains(string(text), `"of_peak":`) {
		t.Errorf("%s, %v", text, err)
	}
	var out bytes.Buffer
	PrintGPU(&out, rows)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 || !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "× torch") }) {
		t.Errorf("table:\n%s", out.String())
	}
	for _, l := range lines {
		if strings.Count(l, "|") != 12 {
			t.Errorf("%d cells in %q", strings.Count(l, "|")-1, l)
		}
	}
}

// A report that was stored after any case goes on after it, whether the process was stopped in a case or the case failed, and no case is
// measured twice.
func TestGPUReportGoesOn(t *testing.T) {
	cases := []Case{
		newCase("", "add", dims{"T": 4, "C": 16}), newCase("", "swiglu", dims{"T": 4, "F": 16}), newCase("", "sample", dims{"R": 2, "V": 30}),
	}
	o := GPUOptions{Emulated: true}
	names := func(r GPUReport) (all []string) {
		for _, x := range r.Rows {
			all = append(all, x.Op)
		}
		for _, x := range r.Failed {
			all = append(all, x.Op+" failed: "+x.Why)
		}
		return all
	}
	cut := errors.New("cut")
	for at := range 6 { // stores: one when a case begins, one when it is done
		var r GPUReport
		var stored []byte
		n := 0
		err := GPUKernels(emulated(t), cases, o, &r, func() error {
			if n++; n > at {
				return cut
			}
			var err error
			stored, err = json.Marshal(r)
			return err
		})
		if !errors.Is(err, cut) {
			t.Fatalf("cut at store %d: %v", at, err)
		}
		var again GPUReport
		if stored != nil {
			if err := json.Unmarshal(stored, &again); err != nil {
				t.Fatal(err)
			}
		}
		again.Resume()
		if err := GPUKernels(emulated(t), cases, o, &again, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		want := []string{"add", "swiglu", "sample"}
		if at%2 == 1 { // stopped in a case
			op := want[at/2]
			want = append(slices.Delete(want, at/2, at/2+1), op+" failed: did not finish: the process was stopped in it")
		}
		if got := names(again); !slices.Equal(got, want) {
			t.Errorf("cut at store %d, then resumed: %q, want %q", at, got, want)
		}
	}
	// A case that fails is passed over next time.
	small, err := kernels.NewGPU(emu.New(emu.Options{Capability: 80, Memory: 1 << 16}))
	if err != nil {
		t.Fatal(err)
	}
	defer small.Close()
	r := GPUReport{Ceilings: Ceilings{GPU: "measured before"}}
	large := append([]Case{newCase("", "add", dims{"T": 1 << 12, "C": 16})}, cases...)
	err = GPUKernels(small, large, o, &r, func() error { return nil })
	if err == nil || len(r.Failed) != 1 || !strings.Contains(r.Failed[0].Why, "out of memory") {
		t.Errorf("%v, failed: %+v", err, r.Failed)
	}
	err = GPUKernels(emulated(t), large, o, &r, func() error { return nil })
	if err != nil || len(r.Rows) != 3 || r.Ceilings.GPU != "measured before" {
		t.Errorf("after a failure: %v, %q", err, names(r))
	}
}

// Every module that ships compiles, and its kernels are those of the manifest; a manifest that promises more is contradicted.
func TestLoadComparesWithTheManifest(t *testing.T) {
	dev, err := kernels.NewGPU(emu.New(emu.Options{Capability: 90}))
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	calls := 0
	r, err := Load(dev, func(LoadReport) error { calls++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	families := ptx.Read().Families
	if len(r.Modules) != len(families) || calls != len(families) || r.Bad() != nil || !(r.Seconds > 0) {
		t.Errorf("%d modules of %d, %d calls, %v s: %q", len(r.Modules), len(families), calls, r.Seconds, r.Bad())
	}
	for _, m := range r.Modules {
		if len(m.Kernels) != len(families[m.Name].Entries) {
			t.Errorf("%s: %d kernels of %d", m.Name, len(m.Kernels), len(families[m.Name].Entries))
		}
	}
	e := ptx.Entry{Threads: 256, Stack: 8}
	if got := unlike(driver.Attr{Local: 8, Threads: 256}, e); got != "" {
		t.Error(got)
	}
	for want, a := range map[string]driver.Attr{
		"16 bytes of local memory a thread, the manifest has 8": {Local: 16, Threads: 256}, "at most 128 threads": {Threads: 128},
	} {
		if got := unlike(a, e); !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Work is counted by hand for two cases, and every case has some.
func TestCasesCountTheirWork(t *testing.T) {
	for _, c := range GPUCases() {
		if c.FLOP+c.Bytes <= 0 || math.IsNaN(c.FLOP+c.Bytes) || c.Shape() == "" || c.Goal == "" {
			t.Errorf("%+v", c)
		}
	}
	// One sequence of two tokens, one head of size 1: three pairs, two products of one multiply-add each.
	if c := newCase("", "attention", dims{"S": 1, "L": 2, "H": 1, "K": 1, "D": 1}); c.FLOP != 12 || c.Bytes != 2*2*4 {
		t.Errorf("attention: %v flop, %v bytes", c.FLOP, c.Bytes)
	}
	// Two new tokens after one: they look at 2 and 3 keys.
	if c := newCase("", "paged attention", dims{"B": 1, "L": 3, "new": 2, "H": 1, "K": 1, "D": 1}); c.FLOP != 4*5 {
		t.Errorf("paged attention: %v flop", c.FLOP)
	}
	if got := newCase("", "linear", dims{"M": 3, "T": 1, "N": 2}).Shape(); got != "T 1 N 2 M 3" {
		t.Errorf("shape is %q", got)
	}
}
