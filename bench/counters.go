package bench

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// GPUSample is what one GPU's counters said at one moment. A counter that the GPU does not have is not a number.
type GPUSample struct {
	Power                float64 // watts
	SMClock, MemoryClock float64 // MHz
	Busy, MemoryBusy     float64 // percent of the driver's last sampling period
	Memory               float64 // MiB in use, by everybody
	Temperature          float64 // °C
	Throttle             uint64  // NVML's bits: why clocks are not higher
}

func noSample() GPUSample {
	n := math.NaN()
	return GPUSample{Power: n, SMClock: n, MemoryClock: n, Busy: n, MemoryBusy: n, Memory: n, Temperature: n}
}

// counters is an open source of GPU samples: NVML.
type counters interface {
	names() []string
	read() []GPUSample // one per name
	memory() []int64   // bytes that each has; 0: not known
	close()
}

// GPUMemory is how many bytes the largest GPU of this machine has, without taking any of them; the error says why that is not known.
func GPUMemory() (int64, error) {
	c, err := openCounters()
	if err != nil {
		return 0, err
	}
	defer c.close()
	if most := slices.Max(append(c.memory(), 0)); most > 0 {
		return most, nil
	}
	return 0, errors.New("no GPU counters: NVML does not say how much memory a GPU has")
}

// throttles are the bits of GPUSample.Throttle that slow a GPU down. Idleness, and clocks that an application asked for, are none.
var throttles = []struct {
	bit  uint64
	name string
}{
	{0x4, "power cap"}, {0x8, "hardware slowdown"}, {0x10, "sync boost"}, {0x20, "software thermal"}, {0x40, "hardware thermal"},
	{0x80, "power brake"},
}

// throttleNames lists what a GPU is slowed down by; "" where by nothing.
func throttleNames(bits uint64) string {
	var names []string
	for _, t := range throttles {
		if bits&t.bit != 0 {
			names = append(names, t.name)
		}
	}
	return strings.Join(names, "+")
}

// A clockWatch reads one GPU's SM clock while something is measured; the zero value has nothing to read.
type clockWatch struct {
	c  counters
	at int
}

// watchClocks opens the counters of GPU number at, or returns why there are none.
func watchClocks(at int) (clockWatch, error) {
	c, err := openCounters()
	if err != nil {
		return clockWatch{}, err
	}
	if at >= len(c.names()) {
		c.close()
		return clockWatch{}, fmt.Errorf("no GPU counters: NVML has %d GPUs, number %d was asked for", len(c.names()), at)
	}
	return clockWatch{c, at}, nil
}

func (w clockWatch) read() GPUSample {
	if w.c == nil {
		return noSample()
	}
	return w.c.read()[w.at]
}

func (w clockWatch) close() {
	if w.c != nil {
		w.c.close()
	}
}
