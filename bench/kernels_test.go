package bench

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"retool/kernels"
)

func TestCalibrationAddsUp(t *testing.T) {
	dev := kernels.NewCPU(0)
	defer dev.Close()
	f := Calibrate(dev)
	if f.FLOP1 < 1e8 || f.Read1 < 1e8 || f.FLOPs < f.FLOP1/4 || f.Read < f.Read1/8 {
		t.Errorf("implausible floor: %+v", f)
	}
	if got := f.Time(f.FLOPs, f.Read/2); got != 1 {
		t.Errorf("a second's worth of multiply-adds takes %v s", got)
	}
}

// Every operation of the demo's model has a row with a figure, in the JSON that scripts read.
func TestKernelsMeasuresEveryOperation(t *testing.T) {
	dev := kernels.NewCPU(1)
	defer dev.Close()
	var heard []Row
	rows, err := Kernels(dev, KernelOptions{Models: []string{"d128"}, Decode: []int{2}, Budget: time.Microsecond,
		Report: func(r Row) error { heard = append(heard, r); return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(rows, heard, func(a, b Row) bool { return a.Op == b.Op && a.Shape == b.Shape }) {
		t.Errorf("%d rows, %d reported", len(rows), len(heard))
	}
	text, _ := json.Marshal(rows)
	ops := "linear dx dw rmsnorm add embed rope swiglu attention paged append logsumexp entropy sample loss adamw squares tree"
	for _, op := range strings.Fields(ops) {
		if !strings.Contains(string(text), op) {
			t.Errorf("no row of %s", op)
		}
	}
	for _, r := range rows {
		if !(r.Value > 0) || !(r.OfPeak > 0) || r.Unit == "" || !strings.HasPrefix(r.Shape, "d128 ") {
			t.Errorf("implausible row: %+v", r)
		}
	}
	if !strings.HasPrefix(string(text), `[{"op":"linear","shape":"d128 T 4096 N 384 M 128","value":`) {
		t.Errorf("rows begin with %.80s", text)
	}
}

func TestUnknownModelIsNamed(t *testing.T) {
	if _, err := Kernels(kernels.NewCPU(1), KernelOptions{Models: []string{"d12"}, Floor: &Floor{}}); err == nil ||
		!strings.Contains(err.Error(), `"d12"`) {
		t.Errorf("error is %v", err)
	}
}

// TestPrintKernels prints the table when BENCH names models: BENCH=d128,d256 OPS=linear THREADS=1 go test -run Print ./bench.
func TestPrintKernels(t *testing.T) {
	models := os.Getenv("BENCH")
	if models == "" {
		t.Skip("BENCH is not set")
	}
	threads, _ := strconv.Atoi(os.Getenv("THREADS"))
	dev := kernels.NewCPU(threads)
	defer dev.Close()
	floor := Calibrate(dev)
	o := KernelOptions{Models: strings.Split(models, ","), Floor: &floor, Budget: 60 * time.Millisecond}
	if ops := os.Getenv("OPS"); ops != "" {
		o.Ops = strings.Split(ops, ",")
	}
	rows, err := Kernels(dev, o)
	if err != nil {
		t.Fatal(err)
	}
	Print(os.Stdout, append(floor.Rows(), rows...))
}
