//go:build !linux && !darwin && !freebsd

package limits

import "os"

// mapsAhead: on Windows etcd maps no more than there is of the database.
const mapsAhead = false

func readLimits() processLimits { return processLimits{} }

func mapOnce(*os.File, int64) error { return nil }
