package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"retool/kernels"
	"retool/kernels/driver"
	"retool/kernels/ptx"
)

// A LoadReport is what a GPU's driver made of the kernels that ship.
type LoadReport struct {
	GPU     string       `json:"gpu"`
	Driver  string       `json:"driver"`
	Info    driver.Info  `json:"info"`
	Seconds float64      `json:"jit_seconds"` // of all modules; a driver that has them in its cache takes none
	Modules []LoadModule `json:"modules"`
}

// A LoadModule is one PTX file, compiled.
type LoadModule struct {
	Name    string       `json:"name"` // "norm.sm80"
	Seconds float64      `json:"jit_seconds"`
	Kernels []LoadKernel `json:"kernels"`
	Why     string       `json:"why,omitempty"` // it was refused
}

// A LoadKernel is one entry: what the driver says of it, and the manifest.
type LoadKernel struct {
	Name      string `json:"name"`
	Registers int    `json:"registers"` // a thread; 0: the emulator allots none
	Expected  int    `json:"registers_manifest"`
	Local     int    `json:"local"` // bytes a thread
	Shared    int    `json:"shared"`
	Threads   int    `json:"threads"`       // the most of a block
	Why       string `json:"why,omitempty"` // what differs from the manifest and should not
}

// Bad is the sentences of a report that should not be there.
func (r LoadReport) Bad() (all []string) {
	for _, m := range r.Modules {
		if m.Why != "" {
			all = append(all, m.Name+": "+m.Why)
		}
		for _, k := range m.Kernels {
			if k.Why != "" {
				all = append(all, m.Name+": "+k.Name+": "+k.Why)
			}
		}
	}
	return all
}

// Load compiles every PTX file that the GPU can run, with the driver's own compiler, and compares what it made with the manifest: local
// memory no more, the threads of a block no fewer; registers and shared memory are only recorded. done is called with the report after each
// module. The error is the driver's, with which nothing more can be done.
func Load(dev *kernels.GPU, done func(LoadReport) error) (LoadReport, error) {
	var r LoadReport
	var info driver.Info
	if err := dev.Raw(func(drv driver.Driver) error { info = drv.Info(); return nil }); err != nil {
		return r, err
	}
	r = LoadReport{GPU: info.Name, Driver: info.Version, Info: info}
	families := ptx.Read().Families
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if strings.HasSuffix(name, ".sm90a") && info.Capability != 90 {
			continue
		}
		m, err := loadModule(dev, name, families[name], info)
		if err != nil {
			return r, err
		}
		r.Modules = append(r.Modules, m)
		r.Seconds += m.Seconds
		if err := done(r); err != nil {
			return r, err
		}
	}
	return r, nil
}

func loadModule(dev *kernels.GPU, name string, family ptx.Family, info driver.Info) (LoadModule, error) {
	m := LoadModule{Name: name}
	text, err := ptx.Text(name)
	if err != nil {
		return m, err
	}
	err = dev.Raw(func(drv driver.Driver) error {
		begin := time.Now()
		module, err := drv.Load(text)
		m.Seconds = time.Since(begin).Seconds()
		if err != nil {
			m.Why = err.Error()
			return nil // the next may load
		}
		for _, entry := range slices.Sorted(maps.Keys(family.Entries)) {
			e := family.Entries[entry]
			k := LoadKernel{Name: entry, Expected: e.Registers}
			if info.Capability == 90 && e.Hopper > 0 {
				k.Expected = e.Hopper
			}
			fn, err := module.Func(entry)
			if err != nil {
				k.Why = err.Error()
			} else {
				a := fn.Attr()
				k.Registers, k.Local, k.Shared, k.Threads = a.Registers, a.Local, a.Shared, a.Threads
				k.Why = unlike(a, e)
			}
			m.Kernels = append(m.Kernels, k)
		}
		return nil
	})
	return m, err
}

// unlike says what of a kernel is not as the manifest has it.
func unlike(a driver.Attr, e ptx.Entry) string {
	switch {
	case a.Local > e.Stack:
		return fmt.Sprintf("%d bytes of local memory a thread, the manifest has %d: registers are spilled", a.Local, e.Stack)
	case a.Threads < e.Threads:
		return fmt.Sprintf("blocks of at most %d threads, it is launched with %d", a.Threads, e.Threads)
	}
	return ""
}
