// Package controlgroup finds the control groups of a process: the folders that say what it may use of processors and memory, of version 1,
// of version 2, and of hosts that mix both. It reads no limits and makes no groups.
package controlgroup

import (
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Group is a folder in a hierarchy of groups.
type Group struct {
	Top string // where the hierarchy is mounted
	Dir string // the group's folder: Top or below it
}

// Unified is the key of version 2 in Groups.
const Unified = ""

// Groups are those that a process is in, by controller of version 1 ("memory", "cpu"), and Unified. What is not mounted is left out.
type Groups map[string]Group

// Of reads proc/cgroup and proc/mountinfo; proc is the folder of a process, /proc/self. Where these are not, there are no groups.
func Of(proc string) Groups {
	own, _ := os.ReadFile(filepath.Join(proc, "cgroup"))
	mounts, _ := os.ReadFile(filepath.Join(proc, "mountinfo"))
	return parse(string(own), string(mounts))
}

// Up are the folders of a group and of those above it, to the top of what is mounted; the zero Group has none.
func (g Group) Up() iter.Seq[string] {
	return func(yield func(string) bool) {
		for dir := g.Dir; dir != "" && yield(dir) && dir != g.Top; dir = filepath.Dir(dir) {
		}
	}
}

// parse is Of, of the texts of both files: cgroups(7), proc_pid_mountinfo(5).
func parse(own, mounts string) Groups {
	paths := map[string]string{} // by controller, inside its hierarchy
	for line := range strings.Lines(own) {
		if f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3); len(f) == 3 { // number, controllers, path
			for _, c := range strings.Split(f[1], ",") {
				paths[c] = f[2]
			}
		}
	}
	groups, hidden := Groups{}, map[string]int{}
	for line := range strings.Lines(mounts) {
		before, after, _ := strings.Cut(line, " - ")
		at, of := strings.Fields(before), strings.Fields(after) // number, parent, device, root, mount point; type, source, options
		if len(at) < 5 || len(of) < 3 {
			continue
		}
		controllers := []string{Unified}
		if of[0] == "cgroup" {
			controllers = strings.Split(of[2], ",")
		} else if of[0] != "cgroup2" {
			continue
		}
		for _, c := range controllers {
			path, in := paths[c]
			if !in {
				continue
			}
			g, n := seen(unescape.Replace(at[3]), filepath.Clean(unescape.Replace(at[4])), path)
			if old, twice := groups[c]; !twice || g.Top == old.Top || n < hidden[c] {
				groups[c], hidden[c] = g, n // it lies over the other, or shows more
			}
		}
	}
	return groups
}

// unescape undoes what the kernel writes for characters that would end a field.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// seen is a group as a mount shows it whose root is a folder of the hierarchy, and how many levels above the group's it hides. A group that
// lies elsewhere is taken to be that root: a container may see its own there under another name. Folders above the root of a namespace are
// "..", of which nothing says what they are: they are names here, not steps.
func seen(root, top, path string) (g Group, hidden int) {
	rel, below := strings.CutPrefix(strings.TrimSuffix(path, "/")+"/", strings.TrimSuffix(root, "/")+"/")
	if !below || slices.Contains(strings.Split(rel, "/"), "..") {
		return Group{top, top}, math.MaxInt
	}
	return Group{top, filepath.Join(top, rel)}, strings.Count(strings.TrimSuffix(root, "/"), "/")
}
