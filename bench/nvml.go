//go:build linux && cgo

package bench

import (
	"fmt"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// openCounters opens NVML, which comes with NVIDIA's driver and is looked for now, not when the program was linked.
func openCounters() (counters, error) {
	lib := nvml.New()
	switch r := lib.Init(); r {
	case nvml.SUCCESS:
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		return nil, fmt.Errorf("no GPU counters: libnvidia-ml.so.1, which comes with NVIDIA's driver, is not on this machine")
	default:
		return nil, fmt.Errorf("no GPU counters: NVML does not start: %s", lib.ErrorString(r))
	}
	n, r := lib.DeviceGetCount()
	if r == nvml.SUCCESS && n == 0 {
		r = nvml.ERROR_NOT_FOUND
	}
	if r != nvml.SUCCESS {
		lib.Shutdown()
		return nil, fmt.Errorf("no GPU counters: NVML finds no GPU: %s", lib.ErrorString(r))
	}
	c := &nvmlCounters{lib: lib}
	for i := range n {
		d, r := lib.DeviceGetHandleByIndex(i)
		if r != nvml.SUCCESS {
			lib.Shutdown()
			return nil, fmt.Errorf("no GPU counters: GPU %d: %s", i, lib.ErrorString(r))
		}
		name, _ := d.GetName()
		c.devices, c.list = append(c.devices, d), append(c.list, name)
	}
	return c, nil
}

type nvmlCounters struct {
	lib     nvml.Interface
	devices []nvml.Device
	list    []string
}

func (c *nvmlCounters) names() []string { return c.list }
func (c *nvmlCounters) close()          { c.lib.Shutdown() }

func (c *nvmlCounters) memory() []int64 {
	out := make([]int64, len(c.devices))
	for i, d := range c.devices {
		if v, r := d.GetMemoryInfo(); r == nvml.SUCCESS {
			out[i] = int64(v.Total)
		}
	}
	return out
}

// read takes what each GPU offers; a counter that one does not have is not a number.
func (c *nvmlCounters) read() []GPUSample {
	out := make([]GPUSample, len(c.devices))
	for i, d := range c.devices {
		s := &out[i]
		*s = noSample()
		if v, r := d.GetPowerUsage(); r == nvml.SUCCESS {
			s.Power = float64(v) / 1000
		}
		if v, r := d.GetClockInfo(nvml.CLOCK_SM); r == nvml.SUCCESS {
			s.SMClock = float64(v)
		}
		if v, r := d.GetClockInfo(nvml.CLOCK_MEM); r == nvml.SUCCESS {
			s.MemoryClock = float64(v)
		}
		if v, r := d.GetUtilizationRates(); r == nvml.SUCCESS {
			s.Busy, s.MemoryBusy = float64(v.Gpu), float64(v.Memory)
		}
		if v, r := d.GetMemoryInfo(); r == nvml.SUCCESS {
			s.Memory = float64(v.Used) / (1 << 20)
		}
		if v, r := d.GetTemperature(nvml.TEMPERATURE_GPU); r == nvml.SUCCESS {
			s.Temperature = float64(v)
		}
		if v, r := d.GetCurrentClocksThrottleReasons(); r == nvml.SUCCESS {
			s.Throttle = v
		}
	}
	return out
}
