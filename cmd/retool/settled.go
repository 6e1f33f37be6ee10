package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"retool/trainer"
)

// Settings of a run that goes on are of three kinds. Most fix its bits: another value is refused. Those of looseSettings fix none, and
// those of growingSettings say how long it goes on: both are taken as they are given now. What a data file holds is compared by its
// hash, so its name is loose.
var (
	looseSettings = []string{
		"run", "threads", "model.recompute", "data.problems", "data.traces", "data.test", "data.check",
		"engine.pages", "engine.kv_memory", "engine.step_tokens", "engine.max_lost", "engine.call_limit",
		"interp.zygotes", "interp.concurrency", "interp.warm", "interp.min_tier", "interp.paranoid",
		"rl.verify_every", "rl.max_skipped", "checkpoint.", "eval.", "follow.",
	}
	growingSettings = []string{"rl.steps"}
)

// settle is the configuration as a run directory stores it, and a sentence on what it changes of the one stored there. It refuses one
// that would change the bits of a run with checkpoints.
func settle(cfg *Config, dir string) (text []byte, taken string, err error) {
	saved := *cfg
	saved.Run, saved.Threads = "", 0
	if text, err = saved.text(); err != nil {
		return nil, "", err
	}
	path := filepath.Join(dir, "config.yaml")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || trainer.Latest(dir) == "" {
		return text, "", nil
	}
	old, err := loadConfig(path, nil)
	if err != nil {
		return nil, "", fmt.Errorf("%s goes on from its checkpoints, but its settings cannot be read: %w", dir, err)
	}
	old.Threads = 0
	var refused, changed []string
	there := map[string]string{}
	leaves(reflect.ValueOf(*old), "", func(key string, v reflect.Value) { there[key] = settingText(v) })
	leaves(reflect.ValueOf(saved), "", func(key string, v reflect.Value) {
		here := settingText(v)
		if here == there[key] {
			return
		}
		if among(key, looseSettings) || slices.Contains(growingSettings, key) {
			changed = append(changed, fmt.Sprintf("%s %s → %s", key, there[key], here))
			return
		}
		refused = append(refused, fmt.Sprintf("%s: there %s, here %s", key, there[key], here))
	})
	if len(refused) > 0 {
		return nil, "", fmt.Errorf("%s was begun with other settings (%s): choose another run=, or repeat the command that began it", dir, strings.Join(refused, "; "))
	}
	if len(changed) > 0 {
		taken = "settings changed since the run began: " + strings.Join(changed, ", ")
	}
	if old.RL.Steps != cfg.RL.Steps && old.RL.Steps > 0 && cfg.RL.Schedule != "constant" {
		taken += fmt.Sprintf("; rl.schedule %s falls to the new end from here on", cfg.RL.Schedule)
	}
	return text, taken, nil
}

// settingText is a setting's value as a message shows it.
func settingText(v reflect.Value) string {
	if v.Kind() == reflect.String && v.Len() == 0 {
		return `""`
	}
	return fmt.Sprint(v.Interface())
}

// among reports whether a key is one of names, or lies in a section that one of them, ending in a dot, is.
func among(key string, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return key == n || strings.HasSuffix(n, ".") && strings.HasPrefix(key, n) })
}
