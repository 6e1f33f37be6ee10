package ptx

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// A .cu or .cuh that changed after its PTX was made is found without nvcc.
func TestPTXMatchesSources(t *testing.T) {
	m := Read()
	if len(m.Families) == 0 {
		t.Fatal("the manifest is empty")
	}
	for name, f := range m.Families {
		text, err := Text(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if sum(text) != f.PTX {
			t.Errorf("%s.ptx is not the file that gen.go wrote: run `make kernels`", name)
		}
		for src, want := range f.Sources {
			b, err := os.ReadFile(filepath.Join("..", src))
			if err != nil {
				t.Errorf("%s was made from %s: %v", name, src, err)
			} else if sum(b) != want {
				t.Errorf("%s changed after %s.ptx was made from it: run `make kernels`", src, name)
			}
		}
	}
	sources, _ := filepath.Glob("../*.cu")
	for _, src := range sources {
		family := strings.TrimSuffix(filepath.Base(src), ".cu") + ".sm80"
		if _, ok := m.Families[family]; !ok {
			t.Errorf("%s has no %s.ptx: run `make kernels`", src, family)
		}
	}
	made, _ := filepath.Glob("*.ptx")
	for _, p := range made {
		if _, ok := m.Families[strings.TrimSuffix(p, ".ptx")]; !ok {
			t.Errorf("%s is not in the manifest: run `make kernels`", p)
		}
	}
}

// Without a rounding, ptxas may fuse a multiplication and a sum in one kernel and not in another, and their bits differ.
var unrounded = regexp.MustCompile(`(?m)^\s*(@!?%p\d+ )?(add|sub|mul|mad)(\.ftz)?(\.sat)?\.f32\s.*$`)

func TestFloatsAreRoundedWhereTheTextSays(t *testing.T) {
	if !unrounded.MatchString("\tmul.f32 %f1, %f2, %f3;") || unrounded.MatchString("\tmul.rn.f32 %f1, %f2, %f3;") {
		t.Fatal("the test does not see an unrounded product")
	}
	each(t, func(t *testing.T, name, text string) {
		if m := unrounded.FindString(text); m != "" {
			t.Errorf("%s.ptx: %q: built without -fmad=false?", name, strings.TrimSpace(m))
		}
	})
}

// Sums have one order: no kernel adds by an atomic operation, nor hands results from block to block by one.
func TestNoKernelUsesAtomics(t *testing.T) {
	atomic := regexp.MustCompile(`(?m)^\s*(@!?%p\d+ )?(atom|red|cp\.reduce)\..*$`)
	if !atomic.MatchString("\t@%p1 red.global.add.f32 [%rd1], %f1;") {
		t.Fatal("the test does not see an atomic sum")
	}
	each(t, func(t *testing.T, name, text string) {
		if m := atomic.FindString(text); m != "" {
			t.Errorf("%s.ptx: %s", name, strings.TrimSpace(m))
		}
	})
}

func TestPTXNamesNoPlace(t *testing.T) {
	path := regexp.MustCompile(`"/[^"]*"|_INTERNAL_[0-9a-f]*[1-9a-f][0-9a-f]*_`)
	each(t, func(t *testing.T, name, text string) {
		if m := path.FindString(text); m != "" {
			t.Errorf("%s.ptx: %s", name, m)
		}
	})
}

func each(t *testing.T, f func(t *testing.T, name, text string)) {
	for name := range Read().Families {
		b, err := Text(name)
		if err != nil {
			t.Fatal(err)
		}
		f(t, name, string(b))
	}
}

func TestNothingSpills(t *testing.T) {
	for name, f := range Read().Families {
		for entry, e := range f.Entries {
			if e.Spills != 0 || e.Stack != 0 || e.SASS["STL"] != 0 || e.SASS["LDL"] != 0 {
				t.Errorf("%s: %s keeps %d bytes on its stack and spills %d, SASS %v", name, entry, e.Stack, e.Spills, e.SASS)
			}
			// Each quarter of a multiprocessor has 16 K registers for its warps, given out by 8 for each of 32 threads.
			warps := (e.Threads + 127) / 128
			for _, n := range []int{e.Registers, e.Hopper} {
				if warps*32*((n+7)/8*8) > 16<<10 || n == 0 && (n == e.Registers || strings.HasSuffix(name, ".sm80")) {
					t.Errorf("%s: %s: %d registers for %d threads do not fit", name, entry, n, e.Threads)
				}
			}
			// What SASS names is what a thread has: from the launch, or taken over.
			most := e.Registers
			text, err := Text(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range taken.FindAllStringSubmatch(body(string(text), entry), -1) {
				n, _ := strconv.Atoi(m[1])
				most = max(most, n)
			}
			if e.Highest == 0 || e.Highest > most {
				t.Errorf("%s: %s: SASS names register %d of %d", name, entry, e.Highest-1, most)
			}
		}
	}
}

var (
	taken     = regexp.MustCompile(`setmaxnreg\.inc\.sync\.aligned\.u32 (\d+);`)
	entryHead = regexp.MustCompile(`(?m)\.entry (\w+)\(`)
	maxntid   = regexp.MustCompile(`\.maxntid (\d+)`)
)

// body is the text of an entry, from its name to the next one. (A line of "}" alone also ends inline assembly.)
func body(text, entry string) string {
	const head = ".entry "
	text = text[strings.Index(text, head+entry+"("):]
	if i := strings.Index(text[1:], head); i >= 0 {
		text = text[:i]
	}
	return text
}

// The manifest speaks of the entries that the PTX has, and of their parameters and threads as the PTX declares them.
func TestManifestAgreesWithPTX(t *testing.T) {
	m := Read()
	each(t, func(t *testing.T, name, text string) {
		var found []string
		for _, h := range entryHead.FindAllStringSubmatch(text, -1) {
			found = append(found, h[1])
			e, ok := m.Families[name].Entries[h[1]]
			if !ok {
				t.Errorf("%s.ptx has %s, which the manifest does not name", name, h[1])
				continue
			}
			b := body(text, h[1])
			head := b[:strings.Index(b, "{")]
			declared := declaredParams(t, head)
			if len(declared) != len(e.Params) {
				t.Errorf("%s: %s takes %d parameters, the manifest says %d", name, h[1], len(declared), len(e.Params))
				continue
			}
			for i, p := range e.Params {
				if declared[i].Size != p.Size || declared[i].Align != p.Align {
					t.Errorf("%s: parameter %d of %s is %+v, the manifest says %+v", name, i, h[1], declared[i], p)
				}
			}
			threads := 1024
			if n := maxntid.FindStringSubmatch(head); n != nil {
				threads, _ = strconv.Atoi(n[1])
			}
			if threads != e.Threads {
				t.Errorf("%s: %s: blocks of %d threads, the manifest says %d", name, h[1], threads, e.Threads)
			}
		}
		if len(found) != len(m.Families[name].Entries) {
			t.Errorf("%s.ptx has %d entries, the manifest %d", name, len(found), len(m.Families[name].Entries))
		}
	})
}

var paramLine = regexp.MustCompile(`\.param (?:\.align (\d+) )?\.[busf](\d+) \w+(?:\[(\d+)\])?`)

// declaredParams are sizes and alignments of the parameters that an entry's head declares.
func declaredParams(t *testing.T, head string) (ps []Param) {
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, m := range paramLine.FindAllStringSubmatch(head, -1) {
		p := Param{Size: number(m[2]) / 8, Align: number(m[2]) / 8}
		if m[1] != "" {
			p.Align = number(m[1])
		}
		if m[3] != "" {
			p.Size *= number(m[3])
		}
		ps = append(ps, p)
	}
	return ps
}

// Where ptxas puts parameters: one behind the other, aligned in the bank of constants, where they begin at 0x210 on sm_90, 0x160 on
// sm_80. On sm_90 tensor maps, aligned to 64 bytes, therefore stand at 48 mod 64 from the first parameter: C's rules would have them at
// 0.
func TestParametersStandWhereTheAssemblerPutThem(t *testing.T) {
	maps := 0
	for name, f := range Read().Families {
		bases := []int{0x160, 0x210} // the driver of an H100 assembles portable kernels for itself: to the same places
		if strings.HasSuffix(name, ".sm90a") {
			bases = bases[1:]
		}
		for entry, e := range f.Entries {
			for _, base := range bases {
				at := base
				for i, p := range e.Params {
					if at = (at + p.Align - 1) / p.Align * p.Align; at-base != p.Offset {
						t.Errorf("%s: %s: parameter %d stands at %d, expected at %d", name, entry, i, p.Offset, at-base)
					}
					at += p.Size
				}
			}
			for _, p := range e.Params {
				if p.Align == 64 {
					maps++
					if p.Offset%64 != 48 || p.Size != 128 {
						t.Errorf("%s: %s: a tensor map of %d bytes at %d", name, entry, p.Size, p.Offset)
					}
				}
			}
		}
	}
	if maps == 0 {
		t.Error("no kernel takes a tensor map")
	}
}

// What PTX asks of tensor cores and of the copy engine, SASS does: nothing was taken apart or left out by the assembler.
func TestTensorCoresAndCopiesReachSASS(t *testing.T) {
	m := Read()
	seen := map[string]int{}
	each(t, func(t *testing.T, name, text string) {
		for entry, e := range m.Families[name].Entries {
			b := body(text, entry)
			for _, c := range []struct{ ptx, sass string }{
				{"mma.sync.aligned", "HMMA"}, {"wgmma.mma_async", "HGMMA"}, {"ldmatrix", "LDSM"},
				{"cp.async.cg.shared", "LDGSTS"}, {"cp.async.bulk.tensor", "UTMALDG"}, {"cp.async.bulk.shared", "UBLKCP"},
			} {
				n := strings.Count(b, c.ptx)
				if (n > 0) != (e.SASS[c.sass] > 0) {
					t.Errorf("%s: %s: %d %s in PTX, %d %s in SASS", name, entry, n, c.ptx, e.SASS[c.sass], c.sass)
				}
				if n > 0 {
					seen[c.sass]++
				}
			}
			if strings.HasSuffix(name, ".sm90a") && (e.SASS["HGMMA"] == 0 || e.SASS["UTMALDG"]+e.SASS["UBLKCP"] == 0) {
				t.Errorf("%s: %s: SASS %v: a kernel of Hopper without wgmma or without bulk copies", name, entry, e.SASS)
			}
		}
	})
	for _, op := range []string{"HMMA", "HGMMA", "LDSM", "LDGSTS", "UTMALDG", "UBLKCP"} {
		if seen[op] == 0 {
			t.Errorf("no kernel has %s", op)
		}
	}
}

// Attention on Hopper turns scores into probabilities while another product runs, in machine code and not only in the text: a thread's 32
// exponentials of a tile, forward two more that rescale.
func TestSoftmaxRunsUnderTheProduct(t *testing.T) {
	want := map[string]int{"attention_fwd": 34, "attention_bwd_q": 32, "attention_bwd_kv": 32,
		"paged_fwd64": 34, "paged_fwd128": 34, "paged_part64": 34, "paged_part128": 34}
	seen := 0
	for _, family := range []string{"attention.sm90a", "paged.sm90a"} {
		for entry, e := range Read().Families[family].Entries {
			kind, _, _ := strings.Cut(entry, "_wgmma")
			if seen++; want[kind] == 0 || e.Under != want[kind] {
				t.Errorf("%s: %d exponentials under a product, want %d", entry, e.Under, want[kind])
			}
		}
	}
	if seen != 14 {
		t.Errorf("%d kernels of attention on Hopper, want 14", seen)
	}
}

// A product that adds asks for several pieces of what is there before it needs the first: four or eight pieces of 16 bytes a thread, in
// machine code. Four a thread of eight warps are 16 KB a multiprocessor: what memory brings in the time that it takes to answer.
func TestProductsAskForSumsInBatches(t *testing.T) {
	seen := 0
	for _, family := range []string{"linear.sm80", "linear.sm90a"} {
		for entry, e := range Read().Families[family].Entries {
			want := 8
			switch entry {
			case "linear_f32", "linear_draw", "linear_draw64", "linear_draw16", "linear_draw_wgmma", "linear_draw_pair_wgmma": // of other ends
				continue
			case "linear_nt_wgmma", "linear_nn_wgmma", "linear_tn_wgmma", "linear_nt32_wgmma",
				"linear_nt_pair_wgmma", "linear_nn_pair_wgmma", "linear_tn_pair_wgmma":
				want = 4
			case "linear_nt16": // a thread has one piece of a tile
				want = 2
			}
			if seen++; e.Batch < want {
				t.Errorf("%s: %d loads under way, want %d", entry, e.Batch, want)
			}
		}
	}
	if seen < 16 {
		t.Errorf("%d products", seen)
	}
}

// Portable PTX loads on drivers of the CUDA 11 generation, Hopper's on those of 12.
func TestVersionIsTheLowest(t *testing.T) {
	for name, f := range Read().Families {
		text, err := Text(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), fmt.Sprintf("\n.version %s\n", f.Version)) {
			t.Errorf("%s.ptx does not say .version %s", name, f.Version)
		}
		if strings.HasSuffix(name, ".sm80") && f.Version > "7.4" {
			t.Errorf("%s.ptx needs PTX %s: drivers before CUDA 11.4 cannot load it", name, f.Version)
		}
		if f.Version > "8.0" {
			t.Errorf("%s.ptx needs PTX %s: drivers before CUDA 12.0 cannot load it", name, f.Version)
		}
	}
}

// A kernel file says what it computes, how it is launched and laid out, what it cannot be faster than, what it reached, and how wrong it
// may be.
func TestKernelFilesSayWhatTheyAre(t *testing.T) {
	sources, _ := filepath.Glob("../*.cu")
	if len(sources) < 10 {
		t.Fatalf("%d kernel files", len(sources))
	}
	for _, src := range sources {
		b, err := os.ReadFile(src)
		if err != nil {
			t.Fatal(err)
		}
		head := string(b[:strings.Index(string(b), "#include")])
		for _, want := range []string{"// " + filepath.Base(src) + ": ", "Reference: ", "\n// Launch ", "\n// Layout ", "\n// Contract ",
			"\n// Floor ", "\n// Reached ", "\n// Error "} {
			if !strings.Contains(head, want) {
				t.Errorf("%s: its header has no %q", src, strings.TrimSpace(want))
			}
		}
	}
}
