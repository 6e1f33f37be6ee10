package interp

import (
	"strings"
	"time"
)

// A Tier says which fences stand. Higher is stronger.
type Tier int

// The tiers, from nothing to everything.
const (
	TierNone Tier = iota
	TierC2        // Landlock and seccomp only: no namespaces, the trainer's own user, whose limit of threads all sessions share
	TierC1        // the same with a user of its own per session
	TierB         // namespaces, Landlock, seccomp; memory bounded per process and by polling
	TierA         // the same with cgroups
)

func (t Tier) String() string { return [...]string{"none", "C2", "C1", "B", "A"}[t] }

// MarshalText makes a tier a word in JSON.
func (t Tier) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

func tierNamed(s string) Tier {
	switch strings.ToUpper(s) {
	case "A":
		return TierA
	case "B":
		return TierB
	case "C1":
		return TierC1
	case "C", "C2":
		return TierC2
	}
	return TierNone
}

// A Check is one row of the start-up self-test or of the host's layer table.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"` // what was found
	Remedy string `json:"remedy,omitempty"` // how to get it
}

// Info is what a run prints and stores about its interpreter.
type Info struct {
	Tier     Tier              `json:"tier"`
	Unsafe   bool              `json:"unsafe,omitempty"` // isolation: unsafe-subprocess
	Landlock int               `json:"landlock"`         // ABI, 0: none
	Seccomp  int               `json:"seccomp"`          // instructions of the filter, 0: none
	Cgroup   string            `json:"cgroup"`           // v1, v2 or none
	Python   string            `json:"python"`           // version
	Path     string            `json:"path"`             // of the interpreter
	Modules  map[string]string `json:"modules"`          // preloaded: version, "" where a module has none
	Missing  []string          `json:"missing,omitempty"`
	Sessions int               `json:"sessions"` // warm
	Layers   []Check           `json:"layers"`
	SelfTest []Check           `json:"self_test"`
}

// A Report is what this host offers: `retool doctor`.
type Report struct {
	Layers []Check      `json:"layers"`
	Tiers  []TierReport `json:"tiers"`
	Best   Tier         `json:"tier"` // the one a run would get, TierNone if it would refuse
	Python string       `json:"python,omitempty"`
	Path   string       `json:"path,omitempty"`
	Error  string       `json:"error,omitempty"` // no usable Python
}

// A TierReport is the outcome of starting a pool at one tier.
type TierReport struct {
	Tier     Tier              `json:"tier"`
	OK       bool              `json:"ok"`
	Detail   string            `json:"detail,omitempty"` // why not
	Start    time.Duration     `json:"start_ns"`
	Modules  map[string]string `json:"modules,omitempty"`
	SelfTest []Check           `json:"self_test,omitempty"`
}
