package controlplane

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Names of scheduled snapshots are kubembed-CLUSTER-NUMBER-TIME.tar. The number counts
// the snapshots of a cluster in the directory, because times go back when a clock is
// corrected. Names of earlier versions are kubembed-TIME.tar; those come before all others.
const (
	snapshotPrefix, snapshotSuffix = "kubembed-", ".tar"
	snapshotTime                   = "20060102T150405.000Z"
	unfinishedSuffix               = ".unfinished"
)

// futureTolerance is how far the clocks of two machines may be apart before the name of
// a snapshot counts as one from the future.
const futureTolerance = time.Minute

var snapshotName = regexp.MustCompile(`\A` + snapshotPrefix + `(?:([0-9a-f]{8})-([0-9]{10,18})-)?([0-9TZ.]+)\` + snapshotSuffix + `\z`)

// snapshotFile is a file of the directory of snapshots that is ours.
type snapshotFile struct {
	path    string
	cluster string // empty for those of earlier versions
	number  uint64 // zero for those of earlier versions
	time    time.Time
	size    int64
}

func nameOfSnapshot(cluster string, number uint64, now time.Time) string {
	return fmt.Sprintf("%s%s-%010d-%s%s", snapshotPrefix, cluster, number, now.UTC().Format(snapshotTime), snapshotSuffix)
}

// parseSnapshot reports false for names that are not of snapshots of this cluster, or of
// any cluster if none is named. Earlier versions did not name the cluster.
func parseSnapshot(name, cluster string) (f snapshotFile, ok bool) {
	parts := snapshotName.FindStringSubmatch(name)
	if parts == nil || parts[1] != "" && cluster != "" && parts[1] != cluster {
		return f, false
	}
	f.cluster = parts[1]
	var err error
	if parts[2] != "" {
		if f.number, err = strconv.ParseUint(parts[2], 10, 64); err != nil {
			return f, false
		}
	}
	f.time, err = time.Parse(snapshotTime, parts[3])
	return f, err == nil
}

// snapshotFiles are the snapshots of one cluster in a directory.
type snapshotFiles struct {
	finished   []snapshotFile // the oldest first
	unfinished []string       // paths
	shared     bool           // they are on the disk of etcd
}

// readSnapshots leaves files of others alone. A missing directory has none.
func readSnapshots(dir, cluster string) (files snapshotFiles, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return files, fmt.Errorf("Config.Snapshots.Dir: %w", err)
	}
	return snapshotsAmong(entries, dir, cluster), nil
}

// snapshotsAmong returns the snapshots among the entries of a directory, of all clusters if
// none is named.
func snapshotsAmong(entries []os.DirEntry, dir, cluster string) (files snapshotFiles) {
	for _, entry := range entries {
		name, unfinished := strings.CutSuffix(entry.Name(), unfinishedSuffix)
		f, ours := parseSnapshot(name, cluster)
		f.path = filepath.Join(dir, entry.Name())
		switch {
		case !ours || !entry.Type().IsRegular():
		case unfinished:
			files.unfinished = append(files.unfinished, f.path)
		default:
			if info, err := entry.Info(); err == nil {
				f.size = info.Size()
			}
			files.finished = append(files.finished, f)
		}
	}
	slices.SortFunc(files.finished, func(a, b snapshotFile) int {
		return cmp.Or(cmp.Compare(a.number, b.number), a.time.Compare(b.time))
	})
	return files
}

// next is the number of the next snapshot.
func (f snapshotFiles) next() uint64 {
	if len(f.finished) == 0 {
		return 1
	}
	return f.finished[len(f.finished)-1].number + 1
}

// newest is the newest snapshot that names the cluster and is not empty.
func (f snapshotFiles) newest() (snapshotFile, bool) {
	for _, file := range slices.Backward(f.finished) {
		if file.number > 0 && file.size > 0 {
			return file, true
		}
	}
	return snapshotFile{}, false
}

func (f snapshotFiles) bytes() (sum int64) {
	for _, file := range f.finished {
		sum += file.size
	}
	return sum
}

// spare are the snapshots that may be deleted to make room: all that are older than the
// newest that is not empty.
func (f snapshotFiles) spare() snapshotFiles {
	newest := len(f.finished) - 1
	for newest > 0 && f.finished[newest].size == 0 {
		newest--
	}
	return snapshotFiles{finished: f.finished[:max(newest, 0)]}
}

// future returns those whose names are later than now.
func (f snapshotFiles) future(now time.Time) (files []snapshotFile) {
	for _, file := range f.finished {
		if file.time.Sub(now) > futureTolerance {
			files = append(files, file)
		}
	}
	return files
}

// tidy deletes what a process that was killed had begun. What another process writes
// now is locked.
func (f snapshotFiles) tidy() error {
	for _, path := range f.unfinished {
		if err := removeUnlocked(path); err != nil {
			return err
		}
	}
	return nil
}

// retain deletes all but the newest, and never the one at written.
func (f snapshotFiles) retain(keep int, written string) error {
	for _, file := range f.finished[:max(0, len(f.finished)-keep)] {
		if file.path == written {
			continue
		}
		if err := os.Remove(file.path); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("an old snapshot is not deleted: %w", err)
		}
	}
	return nil
}

// advice says what can be deleted.
func (f snapshotFiles) advice(dir string) string {
	return fmt.Sprintf("; of this disk, %d snapshots of this control plane in %s take %d bytes: all but the newest, %s, can be deleted",
		len(f.finished), dir, f.bytes(), filepath.Base(f.finished[len(f.finished)-1].path))
}
