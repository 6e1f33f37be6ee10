package trainer

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"retool/engine/safetensors"
	"retool/trainer/dist"
)

// Moments are stored as ranges of the weights' flat order, a file a rank: m@131072 holds m from number 131,072 on. A reader takes any
// files that hold each number once, so a run goes on on another number of ranks. Files of before ranges hold m and v whole.

// optimizerFile is the name of a rank's.
func optimizerFile(rank int) string { return fmt.Sprintf("optimizer-%03d.safetensors", rank) }

// MomentsRange is how many numbers of a moment a stored range has at most: 64 MiB, all that saving takes of memory beside the moments.
const MomentsRange = 16 << 20

var momentsRange = MomentsRange // tests have smaller ones

// moments are the optimizer's of this rank, for a checkpoint; prefix comes before their names. They are downloaded when they are written,
// range by range, through the caller's buffer, which grows once.
func (l *Learner) moments(prefix string, buf *[]float32) (list []safetensors.Named) {
	o := l.opt
	for kind, moment := range []string{stateM: "m", stateV: "v"} {
		for _, p := range o.own {
			for from := 0; from < p.Len(); from += momentsRange {
				n := min(momentsRange, p.Len()-from)
				name := fmt.Sprintf("%s%s@%d", prefix, moment, p.From+from)
				list = append(list, safetensors.Named{Name: name, Shape: []int{n}, Data: func() ([]float32, error) {
					if cap(*buf) < n {
						*buf = make([]float32, n)
					}
					o.state.read(kind, p.at+from, (*buf)[:n])
					return (*buf)[:n], nil
				}})
			}
		}
	}
	return list
}

// restore reads this rank's part of what moments wrote on all ranks, after so many updates.
func (l *Learner) restore(f *optimizerFiles, prefix string, updates int) error {
	o := l.opt
	for kind, name := range []string{stateM: prefix + "m", stateV: prefix + "v"} {
		for _, p := range o.own {
			err := f.each(name, o.all, p.Range, func(from int, values []float32) { o.state.write(kind, p.at+from, values) })
			if err != nil {
				return err
			}
		}
	}
	o.step = updates
	return nil
}

// optimizerFiles are those of a checkpoint, mapped.
type optimizerFiles struct {
	dir    string
	files  map[string]*safetensors.File // by name
	values []float32                    // what each converts
}

func openOptimizer(dir string) (*optimizerFiles, error) {
	f := &optimizerFiles{dir: dir, files: map[string]*safetensors.File{}}
	paths, err := filepath.Glob(filepath.Join(dir, "optimizer*.safetensors"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("trainer: checkpoint %s: %s is missing", dir, optimizerFile(0))
	}
	for _, p := range paths {
		s, err := safetensors.Open(p)
		if err != nil {
			f.close()
			return nil, err
		}
		f.files[filepath.Base(p)] = s
	}
	return f, nil
}

func (f *optimizerFiles) close() {
	for _, s := range f.files {
		s.Close()
	}
}

// storedPiece is a range in a file.
type storedPiece struct {
	dist.Range
	file   string
	tensor safetensors.Tensor
}

// whole refuses a flat tensor of n numbers whose pieces are not all of it: a file that is missing is named by what it should hold, whoever
// needs that.
func (f *optimizerFiles) whole(name string, n int) ([]storedPiece, error) {
	pieces := f.pieces(name)
	at := 0
	for i, p := range pieces {
		switch {
		case p.From > at:
			return nil, fmt.Errorf("trainer: %s: numbers %d to %d of %s are missing: %s begins at %d", f.dir, at, p.From-1, name, p.file, p.From)
		case p.From < at:
			return nil, fmt.Errorf("trainer: %s: number %d of %s is in both %s and %s", f.dir, p.From, name, pieces[i-1].file, p.file)
		}
		at = p.To
	}
	if at != n {
		if len(pieces) == 0 {
			return nil, fmt.Errorf("trainer: %s: %s is missing", f.dir, name)
		}
		return nil, fmt.Errorf("trainer: %s: %s has %d numbers, the model %d", f.dir, name, at, n)
	}
	return pieces, nil
}

// each gives the numbers of own of a flat tensor of n to do, from whatever pieces hold them, at most momentsRange at a time, in order; from
// counts from own's first. The memory of values is good until do returns.
func (f *optimizerFiles) each(name string, n int, own dist.Range, do func(from int, values []float32)) error {
	pieces, err := f.whole(name, n)
	if err != nil {
		return err
	}
	for _, p := range pieces {
		have := common(p.Range, own)
		for from := have.From; from < have.To; from += momentsRange {
			to := min(from+momentsRange, have.To)
			some := p.tensor.Part(from-p.From, to-p.From)
			values, ok := some.Numbers().([]float32)
			if !ok {
				f.values = slices.Grow(f.values[:0], to-from)[:to-from]
				if err := some.Float32s(f.values); err != nil {
					return fmt.Errorf("trainer: %s: %w", filepath.Join(f.dir, p.file), err)
				}
				values = f.values
			}
			do(from-own.From, values)
			some.Release()
		}
	}
	return nil
}

// pieces are those of a tensor, in order.
func (f *optimizerFiles) pieces(name string) (out []storedPiece) {
	for file, s := range f.files {
		for _, stored := range s.Names() {
			rest, ok := strings.CutPrefix(stored, name)
			from := 0
			if number, at := strings.CutPrefix(rest, "@"); ok && at {
				var err error
				from, err = strconv.Atoi(number)
				ok = err == nil
			} else {
				ok = ok && rest == ""
			}
			if !ok {
				continue
			}
			t, _ := s.Tensor(stored)
			if t.Len() > 0 {
				out = append(out, storedPiece{dist.Range{From: from, To: from + t.Len()}, file, t})
			}
		}
	}
	slices.SortFunc(out, func(a, b storedPiece) int {
		if a.From != b.From {
			return a.From - b.From
		}
		return strings.Compare(a.file, b.file)
	})
	return out
}
