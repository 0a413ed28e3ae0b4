package controlplane_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// openFiles returns the files and sockets that this process has open, where
// the system tells: a listener or a lock that is left behind is one.
func openFiles(t *testing.T) (files []string) {
	t.Helper()
	const self = "/proc/self/fd"
	entries, err := os.ReadDir(self)
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		target, err := os.Readlink(self + "/" + entry.Name())
		// Go's poller is opened with the first file that needs it.
		if err == nil && !strings.HasPrefix(target, "anon_inode:") && !strings.HasPrefix(target, "/proc/") {
			files = append(files, target)
		}
	}
	slices.Sort(files)
	return files
}

// wantOpenFiles checks that nothing is open that was not before.
func wantOpenFiles(t *testing.T, before []string) {
	t.Helper()
	for _, file := range openFiles(t) {
		if !slices.Contains(before, file) {
			t.Errorf("left open: %s", file)
		}
	}
}
