package etcd

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// allocate takes room on the disk for the first bytes of a file, also where it ends
// before, and leaves its size as it is.
func allocate(path string, bytes int64) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, bytes), file.Close())
}
