package ptx

import (
	"embed"
	"encoding/json"
	"fmt"
	"sync"
)

//go:embed *.ptx manifest.json
var files embed.FS

// Manifest is what gen.go recorded.
type Manifest struct {
	Compiler string            `json:"compiler"` // nvcc's release
	Flags    []string          `json:"flags"`
	Families map[string]Family `json:"families"` // by file name without .ptx: "norm.sm80"
}

// Family is one PTX file.
type Family struct {
	Sources map[string]string `json:"sources"` // sha256 of the .cu and of every .cuh it includes, by path below kernels
	PTX     string            `json:"ptx"`     // sha256 of the file
	Version string            `json:"version"` // the lowest .version ptxas accepts
	Entries map[string]Entry  `json:"entries"`
}

// Entry is one kernel.
type Entry struct {
	Params    []Param `json:"params"`
	Threads   int     `json:"threads"` // .maxntid: the most threads of a block
	Registers int     `json:"registers"`
	Hopper    int     `json:"registers_sm90"` // of a portable kernel, as the driver of an H100 will assemble it
	Shared    int     `json:"shared"`         // static bytes
	Stack     int     `json:"stack"`          // the more of both
	Spills    int     `json:"spills"`         // bytes stored and loaded, the more of both
	// Highest is the highest register that SASS names, plus one. With setmaxnreg it may be above Registers, which is what a launch begins
	// with.
	Highest int `json:"highest"`
	// SASS counts machine instructions: HMMA and HGMMA multiply matrices, UTMALDG and UBLKCP are bulk copies, STL and LDL spill.
	SASS map[string]int `json:"sass"`
	// Under is how many exponentials stand between a wait that leaves a product of wgmma under way and the next wait.
	Under int `json:"exponentials_under_product"`
	// Batch is how many loads of 16 bytes a product has under way at once when it adds to what is there.
	Batch int `json:"loads_under_way"`
}

// Param is one parameter, in bytes. Offset and Size are where ptxas placed it, its KPARAM_INFO, counted from where the parameters of a
// kernel begin; Align is what PTX declares. A launch passes values and sizes: the driver knows the offsets from the same table.
type Param struct {
	Offset int `json:"offset"`
	Size   int `json:"size"`
	Align  int `json:"align"`
}

// Sizes are the bytes of every parameter.
func (e Entry) Sizes() []int {
	sizes := make([]int, len(e.Params))
	for i, p := range e.Params {
		sizes[i] = p.Size
	}
	return sizes
}

// Read is the manifest.
var Read = sync.OnceValue(func() Manifest {
	b, err := files.ReadFile("manifest.json")
	if err != nil {
		panic(err)
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		panic(fmt.Sprintf("ptx: manifest.json: %v", err))
	}
	return m
})

// Text is the PTX of a family, "norm.sm80".
func Text(name string) ([]byte, error) {
	b, err := files.ReadFile(name + ".ptx")
	if err != nil {
		return nil, fmt.Errorf("ptx: no family %s: run `make kernels`", name)
	}
	return b, nil
}
