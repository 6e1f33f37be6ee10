package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"retool/kernels"
	"retool/trainer/dist"
)

// checkConfig is by what ranks that check themselves meet: no Python is asked for.
func checkConfig(device, transport string) (*Config, error) {
	cfg, err := loadConfig("demo"+textRecipe, []string{"device=" + device, "dist.transport=" + transport})
	if err != nil {
		return nil, fmt.Errorf("launch: --check: %w", err)
	}
	return cfg, nil
}

// checkAsRank is `retool launch --check` in a process that a launcher started as a rank.
func checkAsRank(c *cli.Context, id dist.ID) error {
	cfg, err := checkConfig(cmp.Or(c.String("device"), "cpu"), c.String("transport"))
	if err == nil {
		err = cfg.forHost(c.Context, id, false)
	}
	if err != nil {
		return err
	}
	cfg.Run = c.String("run")
	begun := time.Now()
	rs, err := joinRanks(c.Context, cfg, id, true)
	if err != nil {
		return err
	}
	defer rs.Close()
	joined := time.Since(begun)
	dev, err := openRankDevice(cfg.Device, cfg.Variant, rs.threads(0), id)
	if err == nil {
		defer dev.Close()
		if err = rs.moveTensors(dev, cfg); err == nil {
			err = rs.check(dev, joined)
		}
	}
	if err != nil {
		return rs.why(rs.failed(err))
	}
	return nil
}

// check runs every collective over data that each rank can make for all, holds it against what the host computes of them, and prints what
// it took.
func (rs *ranks) check(dev kernels.Device, joined time.Duration) error {
	say := func(format string, args ...any) {
		if rs.Rank() == 0 {
			fmt.Printf(format+"\n", args...)
		}
	}
	for _, m := range rs.roster() {
		say("%v, local rank %d, %d cores (%s)", m, m.LocalRank, m.Cores, m.Affinity)
	}
	say("tensors by %s", dist.Transport(rs.Comm))
	say("join                    %8.1f ms", joined.Seconds()*1e3)
	if err := rs.checkBytes(say); err != nil {
		return err
	}
	for _, n := range []int{dist.Tile/2 + 1, 1 << 20, 1 << 23} {
		if err := rs.checkTensors(dev, n, say); err != nil {
			return err
		}
	}
	if _, err := rs.Gather("all is right", nil); err != nil {
		return err
	}
	say("every collective gave what the host computes, bit for bit")
	return nil
}

func (rs *ranks) checkBytes(say func(string, ...any)) error {
	for _, n := range []int{4, 1 << 20, 16 << 20} {
		times := max(3, min(100, (16<<20)/n/10))
		var took []float64
		for i := range times {
			begun := time.Now()
			got, err := rs.Gather(fmt.Sprintf("%d bytes, time %d", n, i), checkData(rs.Rank(), n, i))
			took = append(took, time.Since(begun).Seconds())
			if err != nil {
				return err
			}
			for r, b := range got {
				if !slices.Equal(b, checkData(r, n, i)) {
					return fmt.Errorf("check: gather of %d bytes: those of rank %d arrived changed", n, r)
				}
			}
		}
		slices.Sort(took)
		best := took[0]
		say("gather      %8d B   %8.3f ms, median %.3f ms, %.2f GB/s a rank", n, best*1e3, took[len(took)/2]*1e3,
			float64(n*(rs.Size()-1))/best/1e9)
	}
	first, err := rs.Ticket("check")
	if err != nil {
		return err
	}
	if first >= rs.Size() {
		return fmt.Errorf("check: ticket %d is among the first %d", first, rs.Size())
	}
	return nil
}

func checkData(rank, n, time int) []byte {
	b := make([]byte, n)
	draw := rand.NewChaCha8([32]byte{byte(rank), byte(rank >> 8), byte(time)})
	_, _ = draw.Read(b)
	return b
}

func (rs *ranks) checkTensors(dev kernels.Device, n int, say func(string, ...any)) error {
	parts := dist.Divide(n, rs.Size())
	own := parts[rs.Rank()]
	rows := make([][]float32, rs.Size())
	for r := range rows {
		draw := rand.New(rand.NewPCG(uint64(r), uint64(n)))
		rows[r] = make([]float32, n)
		for i := range rows[r] {
			rows[r][i] = draw.Float32() - 0.5
		}
	}
	whole, part := dev.Alloc(kernels.F32, n), dev.Alloc(kernels.F32, max(1, own.Len())).Rows(0, own.Len())
	defer dev.Free(whole)
	defer dev.Free(part)
	best := []float64{1e9, 1e9}
	for range 3 {
		dev.Upload(whole, rows[rs.Rank()])
		begun := time.Now()
		if err := rs.ReduceScatter(fmt.Sprint("sums of ", n), part, whole, parts).Wait(); err != nil {
			return err
		}
		best[0] = min(best[0], time.Since(begun).Seconds())
		begun = time.Now()
		if err := rs.AllGather(fmt.Sprint("parts of ", n), whole, part, parts).Wait(); err != nil {
			return err
		}
		best[1] = min(best[1], time.Since(begun).Seconds())
	}
	got := make([]float32, n)
	dev.Download(got, whole)
	if want := treeOf(rows); !slices.Equal(got, want) {
		i := 0
		for got[i] == want[i] {
			i++
		}
		return fmt.Errorf("check: reduce-scatter and all-gather of %d numbers: number %d is %g, the host computes %g", n, i, got[i], want[i])
	}
	moved := 4 * float64(n) * float64(rs.Size()-1) / float64(rs.Size())
	say("reduce-scatter %8d  %8.3f ms, %.2f GB/s a rank", n, best[0]*1e3, moved/best[0]/1e9)
	say("all-gather     %8d  %8.3f ms, %.2f GB/s a rank", n, best[1]*1e3, moved/best[1]/1e9)
	return nil
}

// treeOf adds rows on the host as SumTree does: neighbours, then neighbouring sums, an odd one out going up as it is.
func treeOf(rows [][]float32) []float32 {
	if len(rows) == 1 {
		return rows[0]
	}
	half := 1
	for 2*half < len(rows) {
		half *= 2
	}
	left, right := treeOf(rows[:half]), treeOf(rows[half:])
	sum := make([]float32, len(left))
	for i := range sum {
		sum[i] = left[i] + right[i]
	}
	return sum
}
