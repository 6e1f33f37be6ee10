//go:build ignore

// gen compiles every .cu of package kernels to PTX, normalises it, and writes the manifest.
//
//	go run kernels/ptx/gen.go [-nvcc path] [-cache dir] [family …]      from the repository's root; all families if none is named
//
// Without -nvcc it takes nvcc from the PATH if that is release 13.0, else installs it from PyPI into a virtual environment under -cache.
// PTX of nvcc is reproducible but for absolute paths, and names that hold a hash of the path. Those go; the rest stays as it is: lines that
// look superfluous (.section .debug_str) hold labels that ptxas resolves.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const release = "13.0"

var flags = []string{"-std=c++17", "-O3", "-fmad=false", "-lineinfo", "-ptx"}

// A variant is one file that a .cu becomes.
var variants = []struct {
	name, arch, assemble string
	also                 string // what the driver will assemble it for as well
	only                 string // compiled where the source holds this text
	define               string
}{
	{name: "sm80", arch: "compute_80", assemble: "sm_80", also: "sm_90"},
	{name: "sm90a", arch: "compute_90a", assemble: "sm_90a", only: "RETOOL_SM90", define: "-DRETOOL_SM90=1"},
}

// A parameter's alignment is PTX's word, its offset and size are those of KPARAM_INFO, from where a kernel's parameters begin: 0x160 in the
// constant bank of sm_80, 0x210 in that of sm_90, so that what is aligned to 64 bytes does not stand at a multiple of 64.
type param struct {
	Offset int `json:"offset"`
	Size   int `json:"size"`
	Align  int `json:"align"`
}
type entry struct {
	Params    []param        `json:"params"`
	Threads   int            `json:"threads"`
	Registers int            `json:"registers"`
	Also      int            `json:"registers_sm90,omitempty"`
	Shared    int            `json:"shared"`
	Stack     int            `json:"stack"`
	Spills    int            `json:"spills"`
	Highest   int            `json:"highest"` // register that SASS names, plus one
	SASS      map[string]int `json:"sass,omitempty"`
	Under     int            `json:"exponentials_under_product,omitempty"`
	Batch     int            `json:"loads_under_way,omitempty"` // of 16 bytes, at most, before one is waited for
}
type family struct {
	Sources map[string]string `json:"sources"`
	PTX     string            `json:"ptx"`
	Version string            `json:"version"`
	Entries map[string]*entry `json:"entries"`
}
type manifest struct {
	Compiler string             `json:"compiler"`
	Flags    []string           `json:"flags"`
	Families map[string]*family `json:"families"`
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("gen: ")
	nvcc := flag.String("nvcc", "", "compiler of release "+release)
	cache := flag.String("cache", filepath.Join(os.TempDir(), "retool-nvcc"), "where a fetched compiler is kept")
	planted := flag.Bool("planted", false, "compile kernels/emu/testdata instead: the planted bugs of the emulator's test")
	flag.Parse()
	if _, err := os.Stat("kernels/ptx/gen.go"); err != nil {
		log.Fatal("run it from the repository's root")
	}
	cc, err := compiler(*nvcc, *cache)
	if err != nil {
		log.Fatal(err)
	}
	dir, out := "kernels", "kernels/ptx"
	if *planted {
		dir, out = "kernels/emu/testdata", "kernels/emu/testdata"
	}
	path := filepath.Join(out, "manifest.json")
	m := manifest{Families: map[string]*family{}}
	if b, err := os.ReadFile(path); err == nil {
		if err := json.Unmarshal(b, &m); err != nil {
			log.Fatalf("%s: %v", path, err)
		}
	}
	m.Compiler, m.Flags = "nvcc "+release, flags
	sources, err := filepath.Glob(filepath.Join(dir, "*.cu"))
	if err != nil {
		log.Fatal(err)
	}
	present := map[string]bool{}
	for _, src := range sources {
		name := strings.TrimSuffix(filepath.Base(src), ".cu")
		text, err := os.ReadFile(src)
		if err != nil {
			log.Fatal(err)
		}
		for _, v := range variants {
			if !bytes.Contains(text, []byte(v.only)) {
				continue
			}
			key := name + "." + v.name
			present[key] = true
			if flag.NArg() > 0 && !slices.Contains(flag.Args(), name) {
				continue
			}
			args := append(slices.Clone(flags), "-arch="+v.arch)
			if v.define != "" {
				args = append(args, v.define)
			}
			f, err := build(cc, src, filepath.Join(out, key+".ptx"), v.assemble, v.also, args)
			if err != nil {
				log.Fatalf("%s: %v", src, err)
			}
			m.Families[key] = f
			for _, n := range sortedKeys(f.Entries) {
				e := f.Entries[n]
				log.Printf("%-14s %-28s %3d registers, %5d shared, %d spilled, %v", key, n, e.Highest, e.Shared, e.Spills, e.SASS)
			}
		}
	}
	for key := range m.Families {
		if !present[key] {
			delete(m.Families, key)
			os.Remove(filepath.Join(out, key+".ptx"))
		}
	}
	b, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		log.Fatal(err)
	}
}

func sortedKeys(m map[string]*entry) []string {
	var ks []string
	for k := range m {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}

// compiler finds nvcc and the tools beside it, or fetches them: 303 MB.
func compiler(nvcc, cache string) (string, error) {
	fits := func(path string) bool {
		for _, tool := range []string{"ptxas", "cuobjdump", "nvdisasm"} { // cuobjdump calls nvdisasm
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), tool)); err != nil {
				return false
			}
		}
		b, err := exec.Command(path, "--version").Output()
		return err == nil && bytes.Contains(b, []byte("release "+release+","))
	}
	if nvcc != "" {
		if !fits(nvcc) {
			return "", fmt.Errorf("%s is not nvcc of release %s with ptxas, cuobjdump and nvdisasm beside it", nvcc, release)
		}
		return nvcc, nil
	}
	if path, err := exec.LookPath("nvcc"); err == nil && fits(path) {
		return path, nil
	}
	find := func() string {
		found, _ := filepath.Glob(filepath.Join(cache, "cuda/lib/python3*/site-packages/nvidia/cu13/bin/nvcc"))
		if len(found) == 0 {
			return ""
		}
		return found[0]
	}
	if path := find(); path != "" && fits(path) {
		return path, nil
	}
	log.Printf("fetching nvcc %s from PyPI into %s", release, cache)
	venv := filepath.Join(cache, "cuda")
	install := []string{"install", "-q", "--disable-pip-version-check"}
	for _, p := range []string{"nvcc", "crt", "runtime", "cccl"} {
		install = append(install, "nvidia-cuda-"+p+">=13.0,<13.1")
	}
	// Of 13.0 there are no cuobjdump and no nvdisasm.
	install = append(install, "nvidia-nvvm>=13.0,<13.1", "nvidia-cuda-cuobjdump==13.2.51", "nvidia-cuda-nvdisasm==13.5.37")
	for _, c := range [][]string{{"python3", "-m", "venv", venv}, append([]string{filepath.Join(venv, "bin/pip")}, install...)} {
		if b, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %v: %s", c[0], err, b)
		}
	}
	if path := find(); path != "" && fits(path) {
		return path, nil
	}
	return "", fmt.Errorf("no nvcc %s under %s after the installation", release, venv)
}

func hash(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

var include = regexp.MustCompile(`(?m)^\s*#include "([^"]+)"`)

// hashSources hashes a file and all it includes by quotes.
func hashSources(path string, to map[string]string) error {
	key := filepath.Base(path)
	if to[key] != "" {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	to[key] = hash(b)
	for _, m := range include.FindAllSubmatch(b, -1) {
		if err := hashSources(filepath.Join(filepath.Dir(path), string(m[1])), to); err != nil {
			return err
		}
	}
	return nil
}

func build(nvcc, src, dst, assemble, also string, args []string) (*family, error) {
	f := &family{Sources: map[string]string{}, Entries: map[string]*entry{}}
	if err := hashSources(src, f.Sources); err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "gen")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	raw := filepath.Join(tmp, "out.ptx")
	if b, err := exec.Command(nvcc, append(args, "-o", raw, src)...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("nvcc: %v\n%s", err, b)
	} else if len(b) > 0 {
		return nil, fmt.Errorf("nvcc warns, and a warning is an error here:\n%s", b)
	}
	text, err := os.ReadFile(raw)
	if err != nil {
		return nil, err
	}
	text = normalise(text)

	// The lowest version that ptxas takes lets the oldest driver load the file.
	ptxas := filepath.Join(filepath.Dir(nvcc), "ptxas")
	var report []byte
	for _, v := range []string{"7.0", "7.1", "7.4", "7.8", "8.0", "8.3", "8.6", "9.0"} {
		try := regexp.MustCompile(`(?m)^\.version .*$`).ReplaceAll(text, []byte(".version "+v))
		if err := os.WriteFile(raw, try, 0o644); err != nil {
			return nil, err
		}
		report, err = exec.Command(ptxas, "-v", "-arch="+assemble, "-o", filepath.Join(tmp, "out.cubin"), raw).CombinedOutput()
		if err == nil {
			text, f.Version = try, v
			break
		}
	}
	if f.Version == "" {
		return nil, fmt.Errorf("ptxas refuses it:\n%s", report)
	}
	if bytes.Contains(report, []byte("Performance Loss")) { // wgmma serialised, setmaxnreg ignored
		return nil, fmt.Errorf("ptxas gives up on something:\n%s", report)
	}
	if err := entries(text, f.Entries); err != nil {
		return nil, err
	}
	if err := usage(report, f.Entries); err != nil {
		return nil, err
	}
	cubin := filepath.Join(tmp, "out.cubin")
	if err := placed(nvcc, cubin, f.Entries); err != nil {
		return nil, err
	}
	if also != "" {
		if err := alsoFor(nvcc, also, raw, filepath.Join(tmp, "also.cubin"), f.Entries); err != nil {
			return nil, fmt.Errorf("ptxas for %s: %v", also, err)
		}
	}
	dump, err := exec.Command(filepath.Join(filepath.Dir(nvcc), "cuobjdump"), "-sass", cubin).Output()
	if err != nil {
		return nil, fmt.Errorf("cuobjdump -sass: %v", err)
	}
	if err := disassembly(dump, f.Entries); err != nil {
		return nil, err
	}
	f.PTX = hash(text)
	return f, os.WriteFile(dst, text, 0o644)
}

// alsoFor assembles PTX for another GPU, and adds to the entries what comes out differently there. Parameters must not.
func alsoFor(nvcc, arch, ptx, cubin string, to map[string]*entry) error {
	report, err := exec.Command(filepath.Join(filepath.Dir(nvcc), "ptxas"), "-v", "-arch="+arch, "-o", cubin, ptx).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%v\n%s", err, report)
	}
	there := map[string]*entry{}
	for name, e := range to {
		there[name] = &entry{Params: slices.Clone(e.Params)}
	}
	if err := usage(report, there); err != nil {
		return err
	}
	if err := placed(nvcc, cubin, there); err != nil {
		return err
	}
	for name, e := range there {
		mine := to[name]
		mine.Also, mine.Stack, mine.Spills = e.Registers, max(mine.Stack, e.Stack), max(mine.Spills, e.Spills)
		if !slices.Equal(mine.Params, e.Params) {
			return fmt.Errorf("%s: parameters at %v, elsewhere at %v", name, e.Params, mine.Params)
		}
	}
	return nil
}

var (
	infoSection = regexp.MustCompile(`^\.nv\.info\.(\w+)`)
	kparam      = regexp.MustCompile(`Ordinal : 0x([0-9a-f]+)\s+Offset  : 0x([0-9a-f]+)\s+Size    : 0x([0-9a-f]+)`)
)

// placed reads where ptxas put every parameter: the attributes KPARAM_INFO of a cubin, one for each. The driver goes by them too.
func placed(nvcc, cubin string, to map[string]*entry) error {
	dump, err := exec.Command(filepath.Join(filepath.Dir(nvcc), "cuobjdump"), "-elf", cubin).Output()
	if err != nil {
		return fmt.Errorf("cuobjdump -elf: %v", err)
	}
	number := func(s string) int { n, _ := strconv.ParseInt(s, 16, 32); return int(n) }
	seen := map[string]int{}
	name := ""
	for _, line := range strings.Split(string(dump), "\n") {
		if m := infoSection.FindStringSubmatch(line); m != nil {
			name = m[1]
		} else if strings.HasPrefix(line, ".") {
			name = ""
		}
		m := kparam.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		e := to[name]
		if e == nil {
			return fmt.Errorf("KPARAM_INFO of %q, which the PTX does not declare", name)
		}
		i := number(m[1])
		if i >= len(e.Params) || e.Params[i].Size != number(m[3]) {
			return fmt.Errorf("%s: KPARAM_INFO has parameter %d of %d bytes, PTX declares %v", name, i, number(m[3]), e.Params)
		}
		e.Params[i].Offset = number(m[2])
		seen[name]++
	}
	for name, e := range to {
		if seen[name] != len(e.Params) {
			return fmt.Errorf("%s: KPARAM_INFO has %d parameters, PTX declares %d", name, seen[name], len(e.Params))
		}
	}
	return nil
}

var (
	fileLine = regexp.MustCompile(`(?m)^(\s*\.file\s+\d+ ")([^"]+)(")`)
	pathHash = regexp.MustCompile(`(_INTERNAL_|_GLOBAL__N__)[0-9a-f]{8}_`)
	debugStr = regexp.MustCompile(`(?s)\.section\s+\.debug_str\s*\{.*?\n\s*\}`)
	byteRun  = regexp.MustCompile(`(?m)^\.b8 .*\n(\.b8 .*\n)*`)
)

// normalise removes what depends on the directory and on the machine.
func normalise(text []byte) []byte {
	text = fileLine.ReplaceAllFunc(text, func(line []byte) []byte {
		m := fileLine.FindSubmatch(line)
		path := string(m[2])
		if i := strings.LastIndex(path, "/kernels/"); i >= 0 {
			path = path[i+1:]
		} else {
			path = filepath.Base(path)
		}
		return []byte(string(m[1]) + path + string(m[3]))
	})
	text = pathHash.ReplaceAll(text, []byte("${1}00000000_"))
	return debugStr.ReplaceAllFunc(text, func(s []byte) []byte { return byteRun.ReplaceAll(s, []byte(".b8 0\n")) })
}

var (
	entryHead = regexp.MustCompile(`(?s)\.entry (\w+)\(\s*(.*?)\s*\)\s*(.*?)\{`)
	paramLine = regexp.MustCompile(`\.param (?:\.align (\d+) )?\.(\w+)\s+\w+(?:\[(\d+)\])?`)
	maxntid   = regexp.MustCompile(`\.maxntid (\d+)(?:, (\d+))?(?:, (\d+))?`)
)

// entries reads the parameters and the block limit of every kernel.
func entries(text []byte, to map[string]*entry) error {
	for _, m := range entryHead.FindAllSubmatch(text, -1) {
		e := &entry{Threads: 1024, Params: []param{}}
		for _, line := range strings.Split(string(m[2]), ",\n") {
			if strings.TrimSpace(line) == "" {
				continue
			}
			p := paramLine.FindStringSubmatch(line)
			if p == nil {
				return fmt.Errorf("%s: parameter %q", m[1], line)
			}
			bits, err := strconv.Atoi(strings.TrimLeft(p[2], "bsuf"))
			if err != nil {
				return fmt.Errorf("%s: parameter %q: %v", m[1], line, err)
			}
			q := param{Size: bits / 8, Align: bits / 8}
			if p[1] != "" {
				q.Align, _ = strconv.Atoi(p[1])
			}
			if p[3] != "" {
				n, _ := strconv.Atoi(p[3])
				q.Size *= n
			}
			e.Params = append(e.Params, q)
		}
		if t := maxntid.FindSubmatch(m[3]); t != nil {
			e.Threads = 1
			for _, d := range t[1:] {
				if len(d) > 0 {
					n, _ := strconv.Atoi(string(d))
					e.Threads *= n
				}
			}
		}
		to[string(m[1])] = e
	}
	return nil
}

var (
	compiling = regexp.MustCompile(`Compiling entry function '(\w+)'`)
	stack     = regexp.MustCompile(`(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads`)
	used      = regexp.MustCompile(`Used (\d+) registers`)
	smem      = regexp.MustCompile(`(\d+) bytes smem`)
)

// usage reads ptxas -v.
func usage(report []byte, to map[string]*entry) error {
	var e *entry
	number := func(s []byte) int { n, _ := strconv.Atoi(string(s)); return n }
	for _, line := range bytes.Split(report, []byte("\n")) {
		if m := compiling.FindSubmatch(line); m != nil {
			if e = to[string(m[1])]; e == nil {
				return fmt.Errorf("ptxas compiled %s, which the PTX does not declare", m[1])
			}
		}
		if e == nil {
			continue
		}
		if m := stack.FindSubmatch(line); m != nil {
			e.Stack, e.Spills = number(m[1]), number(m[2])+number(m[3])
		}
		if m := used.FindSubmatch(line); m != nil {
			e.Registers = number(m[1])
		}
		if m := smem.FindSubmatch(line); m != nil {
			e.Shared = number(m[1])
		}
	}
	for name, e := range to {
		if e.Registers == 0 {
			return fmt.Errorf("ptxas says nothing of %s:\n%s", name, report)
		}
	}
	return nil
}

// guarded are the machine instructions that the manifest counts: products of tensor cores, copies in the background, spills.
var guarded = []string{"HMMA", "HGMMA", "LDSM", "LDGSTS", "UTMALDG", "UBLKCP", "STL", "LDL"}

var (
	function = regexp.MustCompile(`^\s*Function : (\w+)`)
	opcode   = regexp.MustCompile(`^\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9]+)`)
	register = regexp.MustCompile(`\bR(\d+)\b`)
	depbar   = regexp.MustCompile(`WARPGROUP\.DEPBAR\.LE gsb0, 0x([0-9a-f]+)`)
	wideLoad = regexp.MustCompile(`\sLDG\.E\.128`)
	uses     = regexp.MustCompile(`\s(STG|LDS|STS|FADD|FMUL|FFMA|BAR|WARPSYNC|BRA|EXIT)\b`)
	softmax  = regexp.MustCompile(`^(?:attention|paged)_(fwd|part|bwd_q|bwd_kv)\d*_wgmma_`)
)

// overlaps demands that the exponentials of a tile of 64 rows and keys are taken while a product runs: a thread's 32, and forward two that
// rescale. ptxas moves a wait above whatever it may.
func overlaps(name string, e *entry) error {
	m := softmax.FindStringSubmatch(name)
	if m == nil {
		return nil
	}
	want := 32
	if m[1] == "fwd" || m[1] == "part" {
		want = 34
	}
	if e.Under < want {
		return fmt.Errorf("%s: %d of %d exponentials are taken under a product: ptxas moved the wait above the others", name, e.Under, want)
	}
	return nil
}

// disassembly counts the guarded instructions of every kernel and finds the highest register it names: with setmaxnreg, ptxas -v reports no
// more than the limit of the launch. Exponentials between a wait that leaves a product under way and the next wait are under it. Loads
// of a product's epilogue are under way together if nothing between them computes, stores or branches.
func disassembly(dump []byte, to map[string]*entry) error {
	var e *entry
	name := ""
	under, batch := false, 0
	for _, line := range strings.Split(string(dump), "\n") {
		if m := function.FindStringSubmatch(line); m != nil {
			name = m[1]
			if e = to[name]; e == nil {
				return fmt.Errorf("SASS has %s, which the PTX does not declare", m[1])
			}
			e.SASS, under, batch = map[string]int{}, false, 0
		}
		m := opcode.FindStringSubmatch(line)
		if m == nil || e == nil {
			continue
		}
		if slices.Contains(guarded, m[1]) {
			e.SASS[m[1]]++
		}
		if d := depbar.FindStringSubmatch(line); d != nil {
			under = d[1] != "0"
		} else if under && strings.Contains(line, "MUFU.EX2") {
			e.Under++
		}
		if wideLoad.MatchString(line) {
			if batch++; strings.HasPrefix(name, "linear_") {
				e.Batch = max(e.Batch, batch)
			}
		} else if uses.MatchString(line) {
			batch = 0
		}
		for _, r := range register.FindAllStringSubmatch(line, -1) {
			n, _ := strconv.Atoi(r[1])
			e.Highest = max(e.Highest, n+1)
		}
	}
	for name, e := range to {
		if e.SASS == nil || e.Highest == 0 {
			return fmt.Errorf("cuobjdump says nothing of %s", name)
		}
		if err := overlaps(name, e); err != nil {
			return err
		}
	}
	return nil
}
