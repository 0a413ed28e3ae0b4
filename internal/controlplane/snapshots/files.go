// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package snapshots

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

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// The names of snapshots are kubembed-CLUSTER-NUMBER-TIME.tar. NUMBER counts the
// snapshots of a cluster in the directory, because times go back when a clock is
// corrected. Earlier versions named them kubembed-TIME.tar. Those come before all others.
const (
	snapshotPrefix, snapshotSuffix = "kubembed-", ".tar"
	snapshotTime                   = "20060102T150405.000Z"
	unfinishedSuffix               = ".unfinished"
)

// futureTolerance is the difference between the clocks of two machines from which a
// snapshot counts as one from the future.
const futureTolerance = time.Minute

var snapshotName = regexp.MustCompile(`\A` + snapshotPrefix + `(?:([0-9a-f]{8})-([0-9]{10,18})-)?([0-9TZ.]+)\` + snapshotSuffix + `\z`)

// File is a snapshot in a directory. Earlier versions did not give it a Cluster and a
// Number.
type File struct {
	Path    string
	Cluster string
	Number  uint64
	Time    time.Time
	Size    int64
}

func fileName(cluster string, number uint64, now time.Time) string {
	return fmt.Sprintf("%s%s-%010d-%s%s", snapshotPrefix, cluster, number, now.UTC().Format(snapshotTime), snapshotSuffix)
}

// parseName returns false for names of other files, and of snapshots of other clusters
// unless cluster is empty. Snapshots of earlier versions belong to every cluster.
func parseName(name, cluster string) (f File, ok bool) {
	parts := snapshotName.FindStringSubmatch(name)
	if parts == nil || parts[1] != "" && cluster != "" && parts[1] != cluster {
		return f, false
	}
	f.Cluster = parts[1]
	var err error
	if parts[2] != "" {
		if f.Number, err = strconv.ParseUint(parts[2], 10, 64); err != nil {
			return f, false
		}
	}
	f.Time, err = time.Parse(snapshotTime, parts[3])
	return f, err == nil
}

// files are the snapshots in a directory.
type files struct {
	finished   []File   // the oldest first
	unfinished []string // paths
	sharesDisk bool     // with etcd
}

// readDir returns the snapshots of a cluster, of all clusters if cluster is empty. A
// missing directory has none.
func readDir(dir, cluster string) (files, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return files{}, fieldpath.New("", dirField, "%w", err)
	}
	return among(entries, dir, cluster), nil
}

// among returns the snapshots among the entries of a directory.
func among(entries []os.DirEntry, dir, cluster string) (found files) {
	for _, entry := range entries {
		name, unfinished := strings.CutSuffix(entry.Name(), unfinishedSuffix)
		f, ours := parseName(name, cluster)
		f.Path = filepath.Join(dir, entry.Name())
		switch {
		case !ours || !entry.Type().IsRegular():
		case unfinished:
			found.unfinished = append(found.unfinished, f.Path)
		default:
			if info, err := entry.Info(); err == nil {
				f.Size = info.Size()
			}
			found.finished = append(found.finished, f)
		}
	}
	slices.SortFunc(found.finished, func(a, b File) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), a.Time.Compare(b.Time))
	})
	return found
}

// next returns the number of the next snapshot.
func (f files) next() uint64 {
	if len(f.finished) == 0 {
		return 1
	}
	return f.finished[len(f.finished)-1].Number + 1
}

// newest returns the newest snapshot that names the cluster and is not empty.
func (f files) newest() (File, bool) {
	for _, file := range slices.Backward(f.finished) {
		if file.Number > 0 && file.Size > 0 {
			return file, true
		}
	}
	return File{}, false
}

func (f files) bytes() (sum int64) {
	for _, file := range f.finished {
		sum += file.Size
	}
	return sum
}

// spare returns the snapshots that may be deleted to free space: those older than the
// newest one that is not empty.
func (f files) spare() files {
	newest := len(f.finished) - 1
	for newest > 0 && f.finished[newest].Size == 0 {
		newest--
	}
	return files{finished: f.finished[:max(newest, 0)]}
}

// future returns the snapshots whose names are later than now.
func (f files) future(now time.Time) (later []File) {
	for _, file := range f.finished {
		if file.Time.Sub(now) > futureTolerance {
			later = append(later, file)
		}
	}
	return later
}

// tidy deletes unfinished snapshots of killed processes. Files that another process is
// writing are locked.
func (f files) tidy() error {
	for _, path := range f.unfinished {
		if err := removeUnlocked(path); err != nil {
			return err
		}
	}
	return nil
}

// retain deletes all but the newest keep, and never the one at written.
func (f files) retain(keep int, written string) error {
	for _, file := range f.finished[:max(0, len(f.finished)-keep)] {
		if file.Path == written {
			continue
		}
		if err := os.Remove(file.Path); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("deleting an old snapshot: %w", err)
		}
	}
	return nil
}

// advice names the snapshots that can be deleted.
func (f files) advice(dir string) string {
	return fmt.Sprintf("; %d snapshots of this control plane in %s take %d bytes of this disk: all but the newest, %s, can be deleted",
		len(f.finished), dir, f.bytes(), filepath.Base(f.finished[len(f.finished)-1].Path))
}
