//go:build !linux

package etcd

import "errors"

// allocate takes room on the disk where there is a call for it.
func allocate(string, int64) error { return errors.ErrUnsupported }
