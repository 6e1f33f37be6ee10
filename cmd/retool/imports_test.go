package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A package imports what stands in its line, and nothing else of ours.
var mayImport = map[string][]string{
	"kernels/driver":       {},
	"kernels/ptx":          {},
	"kernels/emu":          {"kernels/driver"},
	"kernels/probe":        {"kernels/driver"},
	"kernels/controlgroup": {},
	"kernels":              {"kernels/driver", "kernels/ptx", "kernels/controlgroup"},
	"interp":               {"kernels/controlgroup"},
	"engine/atomicfile":    {},
	"engine/jsonfile":      {},
	"engine/safetensors":   {"engine/atomicfile", "engine/jsonfile"},
	"engine/tokenizer":     {"engine/jsonfile"},
	"engine/gguf":          {"engine/jsonfile"},
	"engine/model":         {"kernels", "engine/atomicfile", "engine/jsonfile", "engine/safetensors"},
	"engine":               {"kernels", "engine/model", "engine/tokenizer"},
	"trainer/answer":       {},
	"trainer/rewrite":      {"trainer/answer", "trainer/data", "engine/atomicfile", "engine/jsonfile"},
	"trainer/data":         {"engine/jsonfile"},
	"trainer/arith":        {"trainer/data"},
	"trainer/trace":        {"engine", "engine/jsonfile"},
	"trainer/dist/mpi":     {},
	"trainer/dist":         {"kernels", "kernels/driver", "trainer/dist/mpi"},
	"trainer": {"kernels", "engine", "engine/model", "engine/atomicfile", "engine/safetensors", "trainer/answer", "trainer/data",
		"trainer/dist", "trainer/trace"},
	"bench": {"kernels", "kernels/driver", "kernels/ptx", "engine", "engine/jsonfile", "engine/model", "interp", "trainer",
		"trainer/trace"},
	"cmd/retool/filelock": {},
	"cmd/retool/hub":      {"cmd/retool/filelock"},
	"cmd/retool/report":   {"engine/jsonfile", "trainer/trace"},
}

// Packages of others that only some of ours may import.
var reserved = map[string][]string{
	"C":                         {"kernels/driver", "trainer/dist/mpi"},
	"gorgonia.org/cu":           {"kernels/driver"},
	"gorgonia.org/tensor":       {"kernels", "engine/safetensors"},
	"github.com/NVIDIA/go-nvml": {"bench"},
	"github.com/urfave/cli":     {"cmd/retool"},
	"github.com/parquet-go":     {"trainer/data"},
	"os/exec":                   {"interp", "bench", "cmd/retool"},
}

func TestLayersPointDown(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "retool/...").Output()
	require.NoError(t, err)
	seen := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		name := strings.TrimPrefix(p.ImportPath, "retool/")
		seen++
		allowed, known := mayImport[name]
		if name != "cmd/retool" {
			require.True(t, known, "package %s has no line in mayImport", name)
		}
		for _, i := range p.Imports {
			if ours, ok := strings.CutPrefix(i, "retool/"); ok && name != "cmd/retool" {
				require.Contains(t, allowed, ours, "%s imports %s", name, ours)
			}
			for prefix, users := range reserved {
				if i == prefix || strings.HasPrefix(i, prefix+"/") {
					require.True(t, slices.Contains(users, name), "%s imports %s, which is for %v", name, i, users)
				}
			}
		}
	}
	require.Greater(t, seen, 10)
}
