package interp

import "bytes"

// stripHarness drops the lines of a traceback that belong to the harness: a frame line and the source line under it.
func stripHarness(tb []byte) []byte {
	if !bytes.Contains(tb, []byte(`File "<harness>"`)) {
		return tb
	}
	var out []byte
	skip := false
	for _, line := range bytes.SplitAfter(tb, []byte("\n")) {
		if bytes.HasPrefix(line, []byte(`  File "<harness>"`)) {
			skip = true
			continue
		}
		if skip && bytes.HasPrefix(line, []byte("    ")) {
			continue
		}
		skip = false
		out = append(out, line...)
	}
	return out
}
