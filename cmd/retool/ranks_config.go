package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/urfave/cli/v2"

	"retool/interp"
	"retool/kernels"
	"retool/kernels/driver"
	"retool/trainer/dist"
)

// forRanks refuses what a run on so many ranks cannot do, or what would do nothing on them, by its settings alone. Whoever first knows how
// many there are asks it, before anything is begun: launch and plan, and every rank before it meets the others. sums: tensors are added
// among them, as those that learn do.
func (c *Config) forRanks(ranks int, sums bool) error {
	if sums && ranks > kernels.MaxTree {
		return fmt.Errorf("config: gradients are added over at most %d ranks, these are %d", kernels.MaxTree, ranks)
	}
	if err := c.Dist.DivideAmong(ranks); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if ranks == 1 {
		return c.idleAlone()
	}
	if c.Dist.Transport == "nccl" && c.Device != "gpu" {
		return fmt.Errorf("config: dist.transport: nccl is for device gpu, this is %s", c.Device)
	}
	return nil
}

// alone are settings that do nothing where a run is one rank's. Slices fix the bits of sums there too, for ranks that go on with it.
var alone = idleRule{reason: "the run is one rank's, which meets nobody", keys: []string{"dist."},
	but: []string{"dist.slices", "dist.shard", "dist.offload"}}

// idleAlone refuses those, as settleIdle does others, where a --set gave them. In a file they stay: how many ranks read it is not in it,
// and a run goes on with another number.
func (c *Config) idleAlone() error {
	standard := DefaultConfig()
	defaults := settings(&standard)
	var refused []string
	for i, s := range settings(c) {
		where := c.typed[s.key]
		if where != "" && alone.covers(s.key) && !reflect.DeepEqual(s.value.Interface(), defaults[i].value.Interface()) {
			refused = append(refused, fmt.Sprintf("%s: %s would do nothing: %s", where, s.key, alone.reason))
		}
	}
	if len(refused) > 0 {
		return fmt.Errorf("config: %s", strings.Join(refused, "; "))
	}
	return nil
}

// rankVerbs are the commands that ranks divide among them, each with what reads its arguments: the configuration by which its ranks meet
// comes first.
var rankVerbs = []struct {
	name    string
	configs func(*cli.Context) ([]*Config, error)
}{
	{"train", trainConfigs}, {"sft", sftConfigs}, {"demo", demoConfigs}, {"eval", evalConfigs},
}

// rankConfigs is what the ranks of a command will read: its arguments go through the program's own command line, on which the commands of
// rankVerbs say what they read in place of doing it. Nothing, where the command asks for its help, which is then printed.
func rankConfigs(ctx context.Context, out io.Writer, command []string) (read []*Config, err error) {
	a := app()
	a.Writer, a.ErrWriter = out, out
	known := false
	var names []string
	for _, v := range rankVerbs {
		names, known = append(names, v.name), known || v.name == command[0]
		for _, c := range a.Commands {
			if c.Name == v.name {
				c.Action = func(c *cli.Context) (err error) {
					read, err = v.configs(c)
					return err
				}
			}
		}
	}
	if !known {
		return nil, fmt.Errorf("launch: %q is no command that ranks run: want one of %s", command[0], strings.Join(names, ", "))
	}
	if err = a.RunContext(ctx, flagsFirst(append([]string{"retool"}, command...), a.Commands)); err != nil {
		return nil, err
	}
	return read, nil
}

// forHost refuses what this host cannot give a rank: its GPU, its kernels, a Python, and for a run its model and the memory. Launch asks it
// once before it starts ranks, and every rank that something else started before it meets the others.
func (c *Config) forHost(ctx context.Context, id dist.ID, trains bool) error {
	switch {
	case c.Device == "gpu":
		visible, err := driver.Count()
		if err == nil {
			_, err = gpuOrdinal(id, visible)
		}
		if err != nil {
			return err
		}
	case c.Device == "cpu" && c.Variant != "":
		dev, err := kernels.NewCPUVariant(1, c.Variant)
		if err != nil {
			return err
		}
		dev.Close()
	}
	if trains {
		if _, err := plannedShape(c, ""); err != nil {
			return err
		}
		if _, err := newBudget(c, c.training(), id); err != nil {
			return err
		}
	}
	if c.tools() {
		return interp.Probe(ctx, c.Interp)
	}
	return nil
}

// check refuses a command that its ranks would refuse: by its settings, those stored in its run directory, and where it starts them here
// by what this host has, and by the data.
func (s *start) check(ctx context.Context, here bool) error {
	n, sums := s.nodes*s.per, learns(s.command[0]) || s.command[0] == "launch" // --check
	for _, cfg := range s.configs {
		if err := cfg.forRanks(n, sums); err != nil {
			return err
		}
	}
	if len(s.configs) == 1 && s.configs[0].Run != "" {
		if _, _, err := settle(s.configs[0], s.configs[0].Run); err != nil {
			return err
		}
	}
	if !here {
		return nil
	}
	last := dist.ID{Rank: s.node*s.per + s.per - 1, Size: n, LocalRank: s.per - 1, LocalSize: s.per} // who lacks most
	for _, cfg := range s.configs {
		if cfg.overMPI() {
			return errors.New("launch: dist.transport: mpi is for ranks that mpirun or srun starts: `retool launch --mpirun` prints the line")
		}
		if err := cfg.forHost(ctx, last, learns(s.command[0])); err != nil {
			return fmt.Errorf("launch: %w", err)
		}
		if learns(s.command[0]) && !cfg.Data.embedded() {
			if err := cfg.readable(); err != nil {
				return fmt.Errorf("launch: %w", err)
			}
		}
	}
	return nil
}

// readable reads what the ranks of a run will read of its model's folder, weights apart, and of its data, as they do.
func (c *Config) readable() error {
	dir, err := c.Model.folder()
	if err != nil {
		return err
	}
	f, err := c.folder(dir)
	if err != nil {
		return err
	}
	p := &program{cfg: c, tok: f.tok}
	if p.proto, p.ends, err = protocolOf(c.Protocol, f); err != nil {
		return fmt.Errorf("%w%s", err, inFolder(dir))
	}
	_, err = p.data(true)
	return err
}
