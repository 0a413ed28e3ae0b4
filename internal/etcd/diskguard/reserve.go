package diskguard

import (
	"os"

	"go.etcd.io/etcd/server/v3/storage/datadir"
)

// How much of the disk the database has beyond its end, so that what was let through
// can be committed even if others fill the disk at that moment. The file grows by 16
// MiB at a time, and has holes then.
const (
	reserveBytes = 32 << 20
	reserveAgain = 16 << 20 // when so much of it is left
)

// reserve is what has been reserved, of which file.
type reserve struct {
	file os.FileInfo
	upTo int64
}

// reserveMissing is how many bytes a start is going to reserve. What an earlier one has
// reserved is still there.
func reserveMissing(dir string) int64 {
	info, err := os.Stat(datadir.ToBackendFileName(dir))
	if err != nil || !canReserve {
		return 0
	}
	return max(0, info.Size()+reserveBytes-allocated(info))
}

// extend reserves more if the database has grown, or is another file. Where the file
// system cannot, the member may fail when its disk is filled within a tenth of a
// second.
func (r *reserve) extend(dir string) {
	path := datadir.ToBackendFileName(dir)
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	if r.file != nil && os.SameFile(r.file, info) && info.Size()+reserveAgain <= r.upTo {
		return
	}
	r.file, r.upTo = info, info.Size()+reserveBytes
	_ = allocate(path, r.upTo)
}
