//go:build unix && !solaris && !illumos && !aix

package etcd

import "golang.org/x/sys/unix"

// freeBytes is what df shows as available: root's reserve is left out.
func freeBytes(dir string) (int64, bool) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, false
	}
	return int64(stat.Bavail) * int64(stat.Bsize), true //nolint:unconvert // their types differ from system to system
}
