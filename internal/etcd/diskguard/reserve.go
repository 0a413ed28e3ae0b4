// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package diskguard

import (
	"os"

	"go.etcd.io/etcd/server/v3/storage/datadir"
)

// The disk space that is allocated beyond the end of the database, so that accepted
// writes can be committed even if another program fills the disk at that moment. The file
// grows in steps of 16 MiB, with holes.
const (
	reserveBytes = 32 << 20
	reserveAgain = 16 << 20 // extended when so much of it is left
)

// reserve is the file and the size up to which space has been reserved.
type reserve struct {
	file os.FileInfo
	upTo int64
}

// reserveMissing returns the bytes that a start is going to reserve. Earlier reservations
// persist.
func reserveMissing(dir string) int64 {
	info, err := os.Stat(datadir.ToBackendFileName(dir))
	if err != nil || !canReserve {
		return 0
	}
	return max(0, info.Size()+reserveBytes-allocated(info))
}

// extend reserves more if the database has grown, or is another file. On a file system
// that cannot reserve space, the member may fail when its disk fills up within a tenth of
// a second.
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
