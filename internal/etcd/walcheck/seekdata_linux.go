package walcheck

import (
	"errors"
	"os"
	"syscall"
)

// nextData returns where the data of the file goes on from at: what was allocated
// and not yet written is skipped. It is negative at the end.
func nextData(file *os.File, at int64) int64 {
	const seekData = 3 // SEEK_DATA of lseek(2)
	next, err := file.Seek(at, seekData)
	switch {
	case errors.Is(err, syscall.ENXIO): // there is none
		return -1
	case err != nil: // a file system that cannot tell
		return at
	}
	return next
}
