package report

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"retool/engine/jsonfile"
	"retool/trainer/trace"
)

// rank is one process of a run of several, as ranks.json of its last start has it.
type rank struct {
	Rank     int    `json:"rank"`
	Host     string `json:"host"`
	Device   string `json:"device"`
	PCI      string `json:"pci,omitempty"`
	Cores    int    `json:"cores"`
	Affinity string `json:"affinity,omitempty"`
	PID      int    `json:"pid"`
	Log      string `json:"log,omitempty"` // within the run's directory, where retool launch wrote one

	Rollout float64 `json:"rollout"` // seconds a step, mean; 0: of no step that is logged
}

// readRanks reads the roster of a run, none of a run of one process.
func readRanks(dir string, rl []trace.Metrics) ([]rank, error) {
	path := filepath.Join(dir, "ranks.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var ranks []rank
	if err == nil {
		err = jsonfile.Unmarshal(text, &ranks)
	}
	if err != nil {
		return nil, fmt.Errorf("report: %s: %w", path, err)
	}
	for i := range ranks {
		r := &ranks[i]
		log := filepath.Join("ranks", fmt.Sprintf("%03d.log", r.Rank))
		if _, err := os.Stat(filepath.Join(dir, log)); err == nil {
			r.Log = log
		}
		steps := 0
		for _, m := range rl {
			if m.Ranks != nil && len(m.Ranks.Rollout) == len(ranks) && r.Rank >= 0 && r.Rank < len(ranks) {
				r.Rollout += m.Ranks.Rollout[r.Rank]
				steps++
			}
		}
		r.Rollout /= float64(max(1, steps))
	}
	return ranks, nil
}
