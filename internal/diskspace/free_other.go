//go:build !windows && (!unix || solaris || illumos || aix)

package diskspace

// usageOf is not known here.
func usageOf(string) (usage, bool) { return usage{}, false }
