package trainer

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/engine/model"
	"retool/engine/safetensors"
	k "retool/kernels"
	"retool/trainer/dist"
)

// doors records the most numbers that went through a device's doors at a time.
type doors struct {
	k.Device
	most int
}

func (d *doors) Upload(dst k.Tensor, src any) {
	d.most = max(d.most, dst.Len())
	d.Device.Upload(dst, src)
}

func (d *doors) Download(dst any, src k.Tensor) {
	d.most = max(d.most, src.Len())
	d.Device.Download(dst, src)
}

// Moments are written and read in ranges, none of which is more than momentsRange in the host's memory, on every rank, on the device or
// offloaded; the file is the one that whole slices would make, byte for byte.
func TestMomentsAreNeverWholeOnTheHost(t *testing.T) {
	momentsRange = 1 << 14
	defer func() { momentsRange = MomentsRange }()
	for _, c := range []struct {
		ranks   int
		offload bool
	}{{1, false}, {2, false}, {1, true}, {2, true}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			dev := &doors{Device: k.NewCPU(1)}
			shape := func(c *model.Config) { wide(c); c.FFN = 512 }
			l := newLabOn(t, dev, model.Options{DType: k.BF16, Sharded: true}, nil, shape)
			learner := func() *Learner {
				comm := dist.Local(c.ranks)[c.ranks-1]
				l := NewLearner(dev, l.policy, l.cfg.RL.Optimizer, NewRanks(comm, c.ranks), "policy", c.offload)
				t.Cleanup(l.Close)
				return l
			}
			from, to := learner(), learner()
			n := from.opt.n
			require.Greater(t, n, 5*momentsRange)
			var whole [2][]float32
			for kind := range whole {
				for i := range n {
					whole[kind] = append(whole[kind], float32(i%1013)*float32(kind+1))
				}
				from.opt.state.write(kind, 0, whole[kind])
			}
			dir := t.TempDir()
			var want []safetensors.Named
			for kind, name := range []string{"m", "v"} {
				for at := 0; at < n; at += momentsRange {
					x := whole[kind][at:min(at+momentsRange, n)]
					want = append(want, safetensors.Named{Name: fmt.Sprintf("%s@%d", name, from.opt.own[0].From+at), Shape: []int{len(x)}, Data: x})
				}
			}
			require.NoError(t, safetensors.Write(filepath.Join(dir, "want"), want, nil))
			var other []safetensors.Named // of the rank that is not here
			if first := from.opt.own[0].From; first > 0 {
				other = append(other, safetensors.Named{Name: "m@0", Shape: []int{first}, Data: make([]float32, first)},
					safetensors.Named{Name: "v@0", Shape: []int{first}, Data: make([]float32, first)})
				require.NoError(t, safetensors.Write(filepath.Join(dir, optimizerFile(0)), other, nil))
			}

			path := filepath.Join(dir, optimizerFile(c.ranks-1))
			dev.most = 0
			taken := allocated(func() {
				var through []float32
				require.NoError(t, safetensors.Write(path, from.moments("", &through), nil))
			})
			require.Less(t, taken, 3*4*momentsRange) // of at least ten
			a, err := os.ReadFile(filepath.Join(dir, "want"))
			require.NoError(t, err)
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(a, b))
			taken = allocated(func() {
				f, err := openOptimizer(dir)
				require.NoError(t, err)
				defer f.close()
				require.NoError(t, to.restore(f, "", 3))
			})
			require.Less(t, taken, 3*4*momentsRange) // of at least ten
			require.LessOrEqual(t, dev.most, momentsRange)
			for kind := range whole {
				require.Equal(t, whole[kind], all(to.opt.state, kind))
			}
		})
	}
}

// allocated is how many bytes of the host's memory f allocates, one after the other.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}
