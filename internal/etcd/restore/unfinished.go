// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"os"
	"path/filepath"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/storage/datadir"

	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/etcd/memberdir"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// CheckFinished returns errdefs.ErrCorrupt for a data directory in which a restore was
// killed before its data was in place. Start calls it too; it is for callers that check
// earlier.
func CheckFinished(dir string) error {
	if !fileutil.Exist(filepath.Join(dir, workDir)) || fileutil.Exist(datadir.ToMemberDir(dir)) {
		return nil
	}
	return fieldpath.New("etcd", "Config.Dir", "%s: %w: a restore into it did not finish: restore again, or delete %q in it to start without data", dir, errdefs.ErrCorrupt, workDir)
}

// RemoveLeftovers is CheckFinished that also deletes the files of a restore that was
// killed after its data was in place.
func RemoveLeftovers(f *memberdir.Directory) error {
	if err := CheckFinished(f.Dir); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(f.Dir, workDir)); err != nil {
		return errdefs.Dir(f.Dir, err)
	}
	return nil
}
