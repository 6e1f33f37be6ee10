package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"retool/trainer"
)

// settle is the configuration as a run directory stores it, and a sentence on what it changes of the one stored there. It refuses one
// that would change the bits of a run with checkpoints, or end it before what it has made.
func settle(cfg *Config, dir string) (text []byte, taken string, err error) {
	saved := cfg.located()
	saved.Run, saved.Threads = "", 0
	if text, err = saved.text(); err != nil {
		return nil, "", err
	}
	path, latest := filepath.Join(dir, "config.yaml"), trainer.Latest(dir)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || latest == "" {
		return text, "", nil
	}
	old, err := loadConfig(path, nil)
	if err != nil {
		return nil, "", fmt.Errorf("%s goes on from its checkpoints, but its settings cannot be read: %w", dir, err)
	}
	old.Threads = 0
	var refused, changed []string
	before := settings(old)
	for i, now := range settings(&saved) {
		there, here := before[i].text(), now.text()
		switch {
		case here == there:
		case now.resume == "":
			refused = append(refused, fmt.Sprintf("%s: there %s, here %s", now.key, there, here))
		default:
			changed = append(changed, fmt.Sprintf("%s %s → %s", now.key, there, here))
		}
	}
	if len(refused) > 0 {
		return nil, "", fmt.Errorf("%s was begun with other settings (%s): choose another run=, or repeat the command that began it",
			dir, strings.Join(refused, "; "))
	}
	state, err := trainer.ReadState(latest)
	if err == nil {
		err = state.Reaches(dir, cfg.RL.Steps)
	}
	if err != nil {
		return nil, "", err
	}
	if len(changed) > 0 {
		taken = "settings changed since the run began: " + strings.Join(changed, ", ")
	}
	if old.RL.Steps != cfg.RL.Steps && old.RL.Steps > 0 && cfg.RL.Schedule != "constant" {
		taken += fmt.Sprintf("; rl.schedule %s falls to the new end from here on", cfg.RL.Schedule)
	}
	return text, taken, nil
}
