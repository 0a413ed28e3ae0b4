// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/kubembed/kubembed/internal/etcd/memberdir"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/files"
	"github.com/kubembed/kubembed/internal/ownership"
	"github.com/kubembed/kubembed/pkg/etcd"
	"github.com/kubembed/kubembed/pkg/pki"
)

// ErrUntrusted is returned if another user of the machine owns or can write to DataDir, a
// directory or file in it, the directory for snapshots, or the audit log. The error names
// the path and the remedy.
var ErrUntrusted = ownership.ErrUntrusted

// recordFile is a file in DataDir with the parts that a start has found or created there.
// The next start detects missing ones with it. A start writes it when keys and etcd
// exist: after a crash in the first start there is no record, and the next start
// completes the parts.
const recordFile = "cluster.json"

// recordFormat changes when older versions of this package must not use a DataDir of
// newer ones.
const recordFormat = 1

// record is the content of recordFile.
type record struct {
	Format int `json:"format"`
	// Etcd is the kind of etcd that has the state.
	Etcd etcdPlace `json:"etcd,omitempty"`
	// PKI has the fingerprints of the CAs and keys, see pki.PKI.Fingerprints. Keys that
	// did not exist are missing.
	PKI map[string][]string `json:"pki,omitempty"`
	// Prefix is the path in etcd below which the objects are. It is empty in records of
	// older versions.
	Prefix string `json:"prefix,omitempty"`
	// Kubernetes is the newest release that was started here, like v1.37.2. It is empty
	// before the first start, with an external etcd, and in records of a release with
	// Kubernetes 1.36. See checkRelease.
	Kubernetes string `json:"kubernetes,omitempty"`
	// Restored is set after Restore of a database without keys: the keys of the next
	// start replace the earlier ones in the database.
	Restored bool `json:"restored,omitempty"`
}

// etcdPlace is the kind of etcd that has the state.
type etcdPlace string

const (
	etcdStandalone etcdPlace = "standalone"
	etcdMembers    etcdPlace = "member"
	etcdExternal   etcdPlace = "external"
)

func (e Etcd) place() etcdPlace {
	switch {
	case e.external():
		return etcdExternal
	case e.Name != "":
		return etcdMembers
	}
	return etcdStandalone
}

// readRecord returns nil if there is no record: in a new DataDir, or one of a version
// without records.
func readRecord(dir string) (*record, error) {
	path := filepath.Join(dir, recordFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fieldpath.New("", "Config.DataDir", "%w", err)
	}
	var r record
	err = json.Unmarshal(data, &r)
	if err == nil && r.Format < 1 {
		err = errors.New("it has no format")
	}
	if err == nil && r.Kubernetes != "" {
		if _, err = version.ParseSemantic(r.Kubernetes); err != nil {
			err = fmt.Errorf("its kubernetes: %w", err)
		}
	}
	if err != nil {
		return nil, fieldpath.New("", "Config.DataDir", "%w: %s: %w: restore it from a backup, or, if etcd and pki beside it are complete, delete it", etcd.ErrCorrupt, path, err)
	}
	if r.Format > recordFormat {
		return nil, fieldpath.New("", "Config.DataDir", "%w: %s has format %d, and this version knows %d: use the newer version", etcd.ErrNewerVersion, path, r.Format, recordFormat)
	}
	return &r, nil
}

// write replaces the record durably.
func (r record) write(dir string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = files.WriteAtomic(filepath.Join(dir, recordFile), append(data, '\n'), 0o600)
	}
	if err != nil {
		return fieldpath.New("", "Config.DataDir", "writing %s: %w", recordFile, err)
	}
	return nil
}

func (r *record) equal(other record) bool {
	return r != nil && r.Format == other.Format && r.Etcd == other.Etcd && r.Restored == other.Restored && r.Prefix == other.Prefix && r.Kubernetes == other.Kubernetes &&
		maps.EqualFunc(r.PKI, other.PKI, slices.Equal)
}

// checkKept compares DataDir with its record before anything new is created. With
// NewCluster it logs the difference.
func (s *Server) checkKept() (err error) {
	if s.temporary != nil {
		return nil
	}
	if s.record, err = readRecord(s.dir); err != nil {
		return err
	}
	s.hadData = memberdir.HasData(filepath.Join(s.dir, "etcd"))
	if err := s.checkRelease(); err != nil {
		return err
	}
	_, err = os.Lstat(s.pkiDir())
	s.newKeys = errors.Is(err, fs.ErrNotExist)
	err = s.missing()
	if err != nil && s.config.NewCluster {
		s.config.Logger.Warn("creating missing parts again, as the configuration confirms: remove this confirmation from it now",
			zap.String("field", string(newClusterField)), zap.Error(err))
		return nil
	}
	return err
}

func (s *Server) pkiDir() string { return filepath.Join(s.dir, "pki") }

// missing returns an error that names the missing part of DataDir, or nil.
func (s *Server) missing() error {
	kept := memberdir.HasData(filepath.Join(s.dir, "etcd"))
	if s.record != nil && s.record.Prefix != "" && s.record.Prefix != s.config.Etcd.Prefix {
		return fieldpath.Errorf("%s is %s, and the objects of %s are below %s: set it to that, or name another %s, "+
			"or set %s for one start to begin a new cluster below %[2]s",
			fieldpath.Name("Config.Etcd.Prefix"), s.config.Etcd.Prefix, s.dir, s.record.Prefix, fieldpath.Name("DataDir"), newClusterField)
	}
	if s.record == nil || s.record.Restored {
		if kept && s.record == nil && !s.config.Etcd.external() {
			return s.missingKeys()
		}
		return nil
	}
	// A joining member asks the others whether it was started before.
	if !kept && !s.config.Etcd.external() && len(s.config.Etcd.Join) == 0 {
		switch s.record.Etcd {
		case "":
		case etcdExternal:
			return lost("%w: its state is in an external etcd, and %s is empty: set it, or bring a snapshot of it here with %s",
				etcd.ErrDataMissing, fieldpath.Name("Config.Etcd.Endpoints"), fieldpath.Name("Restore"))
		default:
			return lost("%w: %s is missing or empty", etcd.ErrDataMissing, filepath.Join(s.dir, "etcd"))
		}
	}
	if err := (pki.Config{Dir: s.pkiDir(), Import: s.config.PKI}).CheckKept(s.record.PKI); err != nil {
		if errors.Is(err, pki.ErrKeysMissing) {
			return lost("%w", err)
		}
		return pkiError(err)
	}
	return nil
}

// missingKeys checks a DataDir with etcd data but without a record. A first start creates
// all keys before etcd.
func (s *Server) missingKeys() error {
	if len(s.config.PKI) > 0 {
		return nil
	}
	for _, files := range [][]string{{"ca.crt"}, {"sa.key", "sa.pub"}} {
		if !slices.ContainsFunc(files, func(name string) bool {
			_, err := os.Lstat(filepath.Join(s.pkiDir(), name))
			return err == nil
		}) {
			return lost("%w: %s has data, but %s has no %s", pki.ErrKeysMissing, filepath.Join(s.dir, "etcd"), s.pkiDir(), strings.Join(files, " or "))
		}
	}
	return nil
}

// newClusterField confirms what errors of missing parts and of other keys ask for.
const newClusterField = fieldpath.Name("Config.NewCluster")

// lost returns an error with the remedies for a missing part.
func lost(format string, args ...any) error {
	return fieldpath.New("", "Config.DataDir", "%w; the usual cause is a disk that is not mounted: mount it, or restore a backup or a snapshot (%s), "+
		"or set %s for one start, which creates the missing part again, without its objects and clients",
		fieldpath.Errorf(format, args...), fieldpath.Name("Restore"), newClusterField)
}

// keepRecord records the parts of this start. It is called when keys and etcd exist.
func (s *Server) keepRecord() error {
	if s.temporary != nil {
		return nil
	}
	r := record{Format: recordFormat, Etcd: s.config.Etcd.place(), PKI: s.pki.Fingerprints(), Prefix: s.config.Etcd.Prefix, Kubernetes: s.keptRelease()}
	if s.record.equal(r) {
		return nil
	}
	if r.Etcd == etcdExternal && s.record != nil && s.record.Etcd != etcdExternal && memberdir.HasData(filepath.Join(s.dir, "etcd")) {
		s.config.Logger.Warn("using the objects of the external etcd, and no longer those of the data directory: check that this is intended",
			zap.String("field", "Config.Etcd.Endpoints"), zap.String("dir", filepath.Join(s.dir, "etcd")))
	}
	if changed := s.record.changed(r); len(changed) > 0 {
		s.config.Logger.Warn("the data directory has other keys than at the last start, as after a rotation: check that this is intended",
			zap.String("field", "Config.DataDir"), zap.Strings("keys", changed), zap.String("dir", s.pkiDir()))
	}
	if err := r.write(s.dir); err != nil {
		return err
	}
	s.record = &r
	return nil
}

// changed returns the names of earlier keys that have changed.
func (r *record) changed(now record) (names []string) {
	if r == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(r.PKI)) {
		if !slices.Equal(r.PKI[name], now.PKI[name]) {
			names = append(names, name)
		}
	}
	return names
}
