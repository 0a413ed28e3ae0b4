//go:build !windows && (!unix || solaris || illumos || aix)

package etcd

// freeBytes is not known here.
func freeBytes(string) (int64, bool) { return 0, false }
