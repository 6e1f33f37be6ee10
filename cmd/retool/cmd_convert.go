package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"retool/engine/atomicfile"
	"retool/engine/gguf"
	"retool/engine/model"
	"retool/engine/safetensors"
	"retool/interp"
)

func convertCommand() *cli.Command {
	return &cli.Command{
		Name:      "convert",
		Usage:     "turn a GGUF file into a Hugging Face folder, or a folder into a GGUF file",
		ArgsUsage: "SRC DST",
		Description: "SRC is a .gguf file or a folder with config.json, safetensors and tokenizer.json. DST is made: a .gguf file if it is\n" +
			"called so, else a folder. Architectures llama, qwen2 and qwen3 with a byte-level BPE tokenizer; what cannot be converted exactly is\n" +
			"refused. Quantised weights of a GGUF file become the numbers that the reference library computes from them. Without --type, a\n" +
			"folder is f32, and matrices in a GGUF file keep f32, f16, bf16 or q8_0 if all are of that type; else they become f32.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "type", Usage: "of the weights: f32, f16, bf16 and, in a GGUF file, q8_0"},
			&cli.StringFlag{Name: "shard", Usage: "the most that a file of a folder's weights holds, `SIZE` such as 2GiB; by default 5 GB"},
		},
		Action: convert,
	}
}

// weight is a value of --type, and what config.json calls it.
type weight struct {
	flag  string
	t     gguf.TensorType
	dtype string // "" where safetensors has no such type
}

var weightTypes = []weight{
	{"f32", gguf.F32, "float32"}, {"f16", gguf.F16, "float16"}, {"bf16", gguf.BF16, "bfloat16"}, {"q8_0", gguf.Q8_0, ""},
}

func convert(c *cli.Context) error {
	from, to := c.Args().Get(0), filepath.Clean(c.Args().Get(1))
	if err := unused(to); err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	toFile := strings.EqualFold(filepath.Ext(to), ".gguf")
	shard := interp.Bytes(safetensors.ShardBytes)
	if size := c.String("shard"); size != "" {
		if err := shard.UnmarshalText([]byte(size)); err != nil || shard <= 0 || toFile {
			return fmt.Errorf("convert: --shard %q: want a size such as 2GiB, and a folder to be written", size)
		}
	}
	src, err := openSource(from)
	if err != nil {
		return err
	}
	defer src.close()
	t, err := weightType(c.String("type"), src, toFile)
	if err != nil {
		return err
	}
	src.print(c.App.Writer)

	begun := time.Now()
	job := &conversion{ctx: c.Context, src: src, t: t, shard: int64(shard), term: newTerminal()}
	job.term.Phase("convert, M parameters", 0, src.config.Elements()/1e6)
	if toFile {
		err = job.writeFile(to)
	} else {
		err = job.writeFolder(to)
	}
	job.term.Close()
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("convert: interrupted: %s was not written", to)
	}
	if err != nil {
		return fmt.Errorf("convert: %s to %s: %w", from, to, err)
	}
	size, err := sizeOf(to)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "%-10s%s: %s, %s, %.1f s\n", "written", to, job.types(), megabytes(size), time.Since(begun).Seconds())
	for _, note := range job.notes {
		fmt.Fprintf(c.App.Writer, "%-10s%s\n", "note", note)
	}
	return nil
}

// weightType is what matrices become.
func weightType(flag string, src *source, toFile bool) (gguf.TensorType, error) {
	if flag == "" {
		if toFile {
			for _, w := range weightTypes {
				if src.matrices == w.t.String() {
					return w.t, nil
				}
			}
		}
		return gguf.F32, nil
	}
	for _, w := range weightTypes {
		switch {
		case w.flag != strings.ToLower(flag):
		case !toFile && w.dtype == "":
			return 0, fmt.Errorf("convert: --type %s is a type of GGUF: a folder takes f32, f16 or bf16", flag)
		default:
			return w.t, nil
		}
	}
	return 0, fmt.Errorf("convert: --type %q: must be f32, f16, bf16 or q8_0", flag)
}

// conversion writes a source once.
type conversion struct {
	ctx   context.Context
	src   *source
	t     gguf.TensorType // of matrices
	shard int64           // bytes of a folder's largest file
	term  *terminal
	done  int // elements
	count map[string]int
	notes []string

	buf, scratch []float32
	bits         []uint16
}

// read reads a parameter as a folder has it, into a buffer that the next call overwrites.
func (j *conversion) read(p gguf.Parameter) ([]float32, error) {
	if err := j.ctx.Err(); err != nil {
		return nil, err
	}
	if cap(j.buf) < p.Len() {
		j.buf = make([]float32, p.Len())
	}
	j.buf = j.buf[:p.Len()]
	err := j.src.read(p, j.buf)
	if j.done += p.Len(); j.term.bar != nil {
		j.term.bar.SetCurrent(int64(j.done / 1e6))
	}
	return j.buf, err
}

// wrote counts a tensor for the report.
func (j *conversion) wrote(t gguf.TensorType) {
	if j.count == nil {
		j.count = map[string]int{}
	}
	j.count[t.String()]++
}

// types says how many tensors of which type were written.
func (j *conversion) types() string { return countLine(j.count) }

func countLine(count map[string]int) string {
	var names []string
	for name := range count {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(count[b]-count[a], strings.Compare(a, b)) })
	for i, name := range names {
		names[i] = fmt.Sprintf("%d %s", count[name], name)
	}
	return "tensors: " + strings.Join(names, ", ")
}

// writeFile writes a GGUF file: norms and biases in F32, as llama.cpp wants them, and matrices in the type asked for. Those whose rows are
// no whole blocks of Q8_0 become F16, as with llama.cpp's converter.
func (j *conversion) writeFile(path string) error {
	src := j.src
	shape, err := src.config.Metadata()
	if err != nil {
		return err
	}
	tok, err := src.tokenizer()
	if err != nil {
		return err
	}
	meta := append(src.general(j.t), shape...)
	meta = append(meta, tok.Metadata()...)
	meta = append(meta, gguf.KV{Key: "general.quantization_version", Value: uint32(2)})
	tensors := src.config.Extra()
	for _, p := range src.params {
		t := j.t
		switch {
		case p.Vector():
			t = gguf.F32
		case !t.Fits(p.Shape[1]):
			j.notes = append(j.notes, fmt.Sprintf("%s is F16: its rows of %d are no whole blocks of %v", p.GGUF, p.Shape[1], t))
			t = gguf.F16
		}
		j.wrote(t)
		tensors = append(tensors, gguf.OutTensor{Name: p.GGUF, Type: t, Shape: p.Shape, Data: func() ([]float32, error) {
			x, err := j.read(p)
			if err != nil {
				return nil, err
			}
			return p.FromFolder(x, &j.scratch), nil
		}})
	}
	j.notes = append(j.notes, src.left...)
	return atomicfile.Write(path, func(w io.Writer) error { return gguf.Write(w, meta, tensors) })
}

// writeFolder writes a folder under another name beside it, and renames that.
func (j *conversion) writeFolder(dir string) (err error) {
	i := slices.IndexFunc(weightTypes, func(w weight) bool { return w.t == j.t })
	files, err := j.src.files(weightTypes[i].dtype)
	if err != nil {
		return err
	}
	parent := filepath.Dir(dir)
	tmp := filepath.Join(parent, fmt.Sprintf(".%s.%d.tmp", filepath.Base(dir), os.Getpid()))
	if err := os.Mkdir(tmp, 0o777); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(tmp)
		}
	}()
	for name, text := range files {
		if err := atomicfile.WriteBytes(filepath.Join(tmp, name), text); err != nil {
			return err
		}
	}
	if _, err := model.ReadConfig(tmp); err != nil { // before the long part
		return fmt.Errorf("the folder could not be loaded: %w", err)
	}
	list := make([]safetensors.Named, len(j.src.params))
	for i, p := range j.src.params {
		list[i] = safetensors.Named{Name: p.Name, Shape: p.Shape, F16: j.t == gguf.F16}
		j.wrote(j.t)
		if j.t == gguf.F32 {
			list[i].Data = func() ([]float32, error) { return j.read(p) }
		} else {
			list[i].Data = func() ([]uint16, error) { return j.rounded(p) }
		}
	}
	if err := safetensors.WriteModel(tmp, list, j.shard); err != nil {
		return err
	}
	j.notes = append(j.notes, j.src.left...)
	if err := os.Rename(tmp, dir); err != nil {
		return err
	}
	return atomicfile.SyncFolder(parent)
}

// rounded reads a parameter in 16 bits.
func (j *conversion) rounded(p gguf.Parameter) ([]uint16, error) {
	x, err := j.read(p)
	if err != nil {
		return nil, err
	}
	if j.bits, err = gguf.Bits16(j.bits[:0], j.t, x); err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	return j.bits, nil
}

// sizeOf is the bytes of a file, or of a folder's files.
func sizeOf(path string) (n int64, err error) {
	err = filepath.WalkDir(path, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
