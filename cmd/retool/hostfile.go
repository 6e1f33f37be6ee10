package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// hostName is what a hostfile may call a host: a name or an address, with the user who is to start processes there if that is another.
var hostName = regexp.MustCompile(`^([A-Za-z0-9._-]+@)?([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[?[0-9A-Fa-f:]+\]?)$`)

// checkHostfile refuses a file that mpirun would, or that has no place for so many ranks on each of so many hosts. A line of Open MPI's
// format is a host and what is said of it, such as slots=8 or max_slots=8; # begins a comment; a host that comes again has more slots.
func checkHostfile(path string, nodes, per int) error {
	text, err := readText(path)
	if err != nil {
		return fmt.Errorf("launch: --hostfile: want a file with a host a line, such as `host0 slots=%d`: %w", per, err)
	}
	slots, unlimited := map[string]int{}, map[string]bool{} // unlimited: as many as the host has cores
	for i, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		at := fmt.Sprintf("launch: --hostfile %s:%d", path, i+1)
		if !hostName.MatchString(words[0]) {
			return fmt.Errorf("%s: want a host, such as `host0 slots=%d`, found %q", at, per, words[0])
		}
		given := false
		for _, word := range words[1:] {
			key, value, _ := strings.Cut(word, "=")
			n, err := strconv.Atoi(value)
			if key = strings.ReplaceAll(key, "-", "_"); key != "slots" && key != "max_slots" || err != nil || n < 1 {
				return fmt.Errorf("%s: want slots=N or max_slots=N, at least 1, found %q", at, word)
			}
			if key == "slots" {
				slots[words[0]] += n
				given = true
			}
		}
		if !given {
			slots[words[0]] += 0
			unlimited[words[0]] = true
		}
	}
	fit := 0
	for host, n := range slots {
		if n >= per || unlimited[host] {
			fit++
		}
	}
	if fit < nodes {
		return fmt.Errorf("launch: --hostfile %s: want %d with %d slots or more, found %d among %d hosts", path, nodes, per, fit, len(slots))
	}
	return nil
}
