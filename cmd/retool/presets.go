package main

import (
	"embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"retool/engine/model"
	"retool/trainer/trace"
)

// A preset is the settings of a published evaluation, in presets/NAME.yaml: sampling, k, budget of tokens, protocol, limits of Python and
// verifier. It lies over the configuration stored beside the weights, and under --set.
//
//go:embed presets/*.yaml
var presetFiles embed.FS

func presetNames() (names []string) {
	entries, _ := presetFiles.ReadDir("presets")
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// preset is one as it was laid over a configuration.
type preset struct {
	name   string
	values map[string]string // what it says, by setting
	notes  []string          // what was used in its place, and why
}

// underPreset is loadConfig with a preset between the file and the sets. weights is the folder to be evaluated. own: the source is the
// configuration of the run that made the weights, whose protocol then stays, for they know no other.
func underPreset(name, source string, own bool, weights string, sets []string) (*Config, *preset, error) {
	text, err := presetFiles.ReadFile("presets/" + name + ".yaml")
	if err != nil {
		return nil, nil, fmt.Errorf("eval: --preset %q is not known (known: %s)", name, strings.Join(presetNames(), ", "))
	}
	p := &preset{name: name, values: map[string]string{}}
	lay := func(c *Config) error {
		protocol := c.Protocol
		given := map[string]string{}
		if err := c.merge("preset "+name, text, given); err != nil {
			return err
		}
		for _, s := range settings(c) {
			if _, ok := given[s.key]; ok {
				p.values[s.key] = s.text()
			}
		}
		if own {
			c.Protocol = protocol
		}
		c.RL.Steps = 0 // nothing is trained: no pass needs to hold a trajectory
		return c.fitPositions(weights)
	}
	c, err := loadOverlaid(source, lay, sets)
	if err != nil {
		return nil, nil, err
	}
	p.compare(c, own, sets)
	return c, p, nil
}

// fitPositions cuts the budget of tokens to the positions of a model.
func (c *Config) fitPositions(weights string) error {
	shape, err := model.ReadConfig(weights)
	if err != nil {
		return err
	}
	c.Engine.MaxTokens = min(c.Engine.MaxTokens, shape.MaxPositions)
	if c.Engine.MaxPrompt >= c.Engine.MaxTokens {
		c.Engine.MaxPrompt = 0
	}
	return nil
}

// compare notes where the configuration is not what the preset says.
func (p *preset) compare(c *Config, own bool, sets []string) {
	for _, s := range settings(c) {
		want, ok := p.values[s.key]
		if !ok || want == s.text() {
			continue
		}
		byUser := func(set string) bool {
			key, _, _ := strings.Cut(set, "=")
			return strings.TrimSpace(key) == s.key
		}
		why := "the positions of the model"
		switch {
		case slices.ContainsFunc(sets, byUser):
			why = "--set"
		case strings.HasPrefix(s.key, "protocol.") && own:
			why = "as the weights were trained"
		case strings.HasPrefix(s.key, "protocol."), strings.HasPrefix(s.key, "interp."), strings.HasPrefix(s.key, "data."):
			why = c.whyIdle(s.key)
		}
		p.notes = append(p.notes, fmt.Sprintf("%s %s, not %s (%s)", s.key, s.text(), want, why))
	}
}

// whyIdle is the reason for which a setting has its default whatever a file says.
func (c *Config) whyIdle(key string) string {
	for _, rule := range idleRules {
		if rule.when(c) && rule.covers(key) {
			return rule.reason
		}
	}
	return "other settings"
}

// note says what the preset is, and what was used in its place.
func (p *preset) note() string {
	if len(p.notes) == 0 {
		return "preset    " + p.name
	}
	return fmt.Sprintf("preset    %s, but %s", p.name, strings.Join(p.notes, "; "))
}

// into records the preset in an evaluation, with the values used of all that it names.
func (p *preset) into(e *trace.Evaluation, c *Config) {
	e.Preset, e.Settings = p.name, maps.Clone(p.values)
	for _, s := range settings(c) {
		if _, ok := e.Settings[s.key]; ok {
			e.Settings[s.key] = s.text()
		}
	}
}

// presetFlag names a preset.
func presetFlag() cli.Flag {
	return &cli.StringFlag{Name: "preset", Usage: "sample, bound and grade as a published evaluation does, `NAME`: " +
		strings.Join(presetNames(), ", ") + "; a --set goes before it"}
}
