package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"text/template"

	"github.com/urfave/cli/v2"
)

//go:embed launch_slurm.tmpl
var slurmTemplate string

//go:embed launch_k8s.tmpl
var k8sTemplate string

// script is what the templates of launch are filled with.
type script struct {
	Name, Time, Image, Claim, Secret, Hostfile string
	Nodes, Per, Cores, Port, Ranks             int
	GPUs                                       bool
	Run                                        string
	Kind, At                                   string
	Command                                    []string // of a rank
}

// PerHost is what makes the ranks of a host, in manifests: retool launch and the command.
func (s script) PerHost() []string {
	flag := "--procs"
	if s.GPUs {
		flag = "--gpus"
	}
	out := []string{"retool", "launch", flag, fmt.Sprint(s.Per), "--preemptible"}
	if s.Kind != "trainjob" { // which says these itself
		out = append(out, "--nodes", fmt.Sprint(s.Nodes), "--at", s.At)
	}
	return append(append(out, "--"), s.Command...)
}

// CPU is the cores of a host's ranks.
func (s script) CPU() int { return s.Cores * s.Per }

// printScript writes the script that the flags ask for.
func printScript(c *cli.Context, s *start) error {
	f := script{
		Name: c.String("name"), Time: c.String("time"), Image: c.String("image"), Claim: c.String("claim"), Secret: c.String("secret"),
		Hostfile: c.String("hostfile"), Nodes: s.nodes, Per: s.per, Cores: c.Int("cores"), Port: s.port, Ranks: s.nodes * s.per, GPUs: s.gpus,
		Run: s.dir, Kind: c.String("k8s"), Command: s.command,
	}
	if f.Run == "" && s.trains() {
		return errors.New("launch: a script is for many hosts, or many starts: name the run directory that they share, --set run=DIR")
	}
	switch {
	case c.Bool("mpirun"):
		return f.writeMpirun(os.Stdout)
	case c.Bool("slurm"):
		if !slurmName.MatchString(f.Name) {
			return fmt.Errorf("launch: --name %q: an sbatch script wants letters, digits, dots, hyphens and underscores", f.Name)
		}
		if f.Time != "" && !slurmTime.MatchString(f.Time) {
			return fmt.Errorf("launch: --time %q: want a limit as sbatch takes it, such as 90, 12:00:00 or 2-12:00:00", f.Time)
		}
		return f.write(os.Stdout, slurmTemplate)
	}
	return f.writeK8s(os.Stdout)
}

func (s script) write(w io.Writer, text string) error {
	t := template.New("")
	t.Funcs(template.FuncMap{"shell": shell, "json": inJSON, "indent": func(by int, name string, with any) (string, error) {
		var b strings.Builder
		err := t.ExecuteTemplate(&b, name, with)
		return strings.ReplaceAll(b.String(), "\n", "\n"+strings.Repeat(" ", by)), err
	}})
	if _, err := t.Parse(text); err != nil {
		return err
	}
	return t.Execute(w, s)
}

// slurmName is a job's name that needs no quotes in an #SBATCH line; slurmTime are the forms of sbatch --time.
var (
	slurmName = regexp.MustCompile(`^[A-Za-z0-9_][-.A-Za-z0-9_]*$`)
	slurmTime = regexp.MustCompile(`^(\d+|\d+:\d+|\d+:\d+:\d+|\d+-\d+(:\d+){0,2}|UNLIMITED|INFINITE)$`)
)

// dnsName is what Kubernetes takes as a job's name; pods add to it.
var dnsName = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$`)

func (s script) writeK8s(w io.Writer) error {
	switch s.Kind {
	case "job":
		s.At = fmt.Sprintf("%s-0.%s:%d", s.Name, s.Name, s.Port)
	case "jobset":
		s.At = fmt.Sprintf("%s-node-0-0.%s:%d", s.Name, s.Name, s.Port)
	case "trainjob":
	default:
		return fmt.Errorf("launch: --k8s %q: want job, jobset or trainjob", s.Kind)
	}
	switch {
	case !dnsName.MatchString(s.Name):
		return fmt.Errorf("launch: --name %q: Kubernetes wants small letters, digits and hyphens, a letter first, at most 40", s.Name)
	case s.Image == "":
		return errors.New("launch: --k8s: want --image, in which retool is on the path")
	case s.Claim == "":
		return errors.New("launch: --k8s: want --claim, a volume claim that all pods may write (ReadWriteMany)")
	case s.Run != "" && !strings.HasPrefix(s.Run, "/runs/"):
		return fmt.Errorf("launch: --k8s: the claim is mounted at /runs: want --set run=/runs/…, got %s", s.Run)
	}
	return s.write(w, k8sTemplate)
}

func (s script) writeMpirun(w io.Writer) error {
	line := []string{"mpirun", "--bind-to", "none", "-n", fmt.Sprint(s.Ranks), "--map-by", fmt.Sprintf("ppr:%d:node", s.Per)}
	if s.Hostfile != "" {
		if err := checkHostfile(s.Hostfile, s.Nodes, s.Per); err != nil {
			return err
		}
		line = append(line, "--hostfile", s.Hostfile)
	}
	_, err := fmt.Fprintln(w, shell(append(append(line, "retool"), s.Command...)))
	return err
}

// shell quotes words where a shell needs it.
func shell(words []string) string {
	plain := regexp.MustCompile(`^[A-Za-z0-9_./:=,+@%-]+$`)
	out := make([]string, len(words))
	for i, w := range words {
		if out[i] = w; !plain.MatchString(w) {
			out[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}

// inJSON is a value as JSON, which is YAML too.
func inJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}
