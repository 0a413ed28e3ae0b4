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

// ErrUntrusted says that DataDir, or a directory or file in it, or one for snapshots or
// the audit log, belongs to another user of this machine, or that others may write to it.
// The error's text names it and the cure.
var ErrUntrusted = ownership.ErrUntrusted

// recordFile is in DataDir. It lists the parts that a start has found or made there, so
// that the next start notices missing ones. It is written when a start has keys and
// etcd: after a crash in the first start there is no record, and the parts are completed.
const recordFile = "cluster.json"

// recordFormat changes when older versions of this package must not go on with what newer
// ones have written.
const recordFormat = 1

// record is what stands in recordFile.
type record struct {
	Format int `json:"format"`
	// Etcd is where the state is kept.
	Etcd etcdPlace `json:"etcd,omitempty"`
	// PKI has the fingerprints of the CAs and keys, see pki.PKI.Fingerprints. A name that
	// is missing was not there at the time.
	PKI map[string][]string `json:"pki,omitempty"`
	// Prefix is the path in etcd below which the objects are. It is empty where an older
	// version has written the record.
	Prefix string `json:"prefix,omitempty"`
	// Kubernetes is the newest release that has been started here, like v1.37.2. It is
	// empty where no release has, where the state is in an external etcd, and where a
	// release with Kubernetes 1.36 has written the record. See checkRelease.
	Kubernetes string `json:"kubernetes,omitempty"`
	// Restored says that Restore has put a database there that came without keys: those
	// of the next start replace what the database knows of earlier ones.
	Restored bool `json:"restored,omitempty"`
}

// etcdPlace is where a control plane keeps its state.
type etcdPlace string

const (
	etcdAlone    etcdPlace = "standalone"
	etcdMembers  etcdPlace = "member"
	etcdExternal etcdPlace = "external"
)

func (e Etcd) place() etcdPlace {
	switch {
	case e.external():
		return etcdExternal
	case e.Name != "":
		return etcdMembers
	}
	return etcdAlone
}

// readRecord returns nil where there is none: a new DataDir, or one of a version that
// wrote none.
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

// write replaces the record, for good.
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

// checkKept compares DataDir with its record before anything new is made. With NewCluster
// it logs the loss.
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
		s.config.Logger.Warn("makes missing parts again, as Config.NewCluster confirms: take it out of the configuration now", zap.Error(err))
		return nil
	}
	return err
}

func (s *Server) pkiDir() string { return filepath.Join(s.dir, "pki") }

// missing returns an error that names the lost part of DataDir, or nil.
func (s *Server) missing() error {
	kept := memberdir.HasData(filepath.Join(s.dir, "etcd"))
	if s.record != nil && s.record.Prefix != "" && s.record.Prefix != s.config.Etcd.Prefix {
		return fmt.Errorf("Config.Etcd.Prefix is %s, and the objects of %s are below %s: set it to that, or name another DataDir, "+
			"or set Config.NewCluster for one start to begin a new cluster below %[1]s", s.config.Etcd.Prefix, s.dir, s.record.Prefix)
	}
	if s.record == nil || s.record.Restored {
		if kept && s.record == nil && !s.config.Etcd.external() {
			return s.missingKeys()
		}
		return nil
	}
	// Members that join ask the others, who know whether this one has been started.
	if !kept && !s.config.Etcd.external() && len(s.config.Etcd.Join) == 0 {
		switch s.record.Etcd {
		case "":
		case etcdExternal:
			return lost("%w: its state is in an external etcd, and Config.Etcd.Endpoints is empty: set it, or bring a snapshot of it here with Restore", etcd.ErrDataMissing)
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

// missingKeys is for a DataDir without a record that has a member's data. A first start
// makes the keys, all of them, before etcd.
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

// lost says how to proceed.
func lost(format string, args ...any) error {
	return fieldpath.New("", "Config.DataDir", ""+format+"; the usual cause is a disk that is not mounted: mount it, or restore a backup or a snapshot (Restore), "+
		"or set Config.NewCluster for one start, which makes the missing part again, without its objects and for none of its clients", args...)
}

// keepRecord writes down what this start has found or made. It comes when keys and etcd
// are there.
func (s *Server) keepRecord() error {
	if s.temporary != nil {
		return nil
	}
	r := record{Format: recordFormat, Etcd: s.config.Etcd.place(), PKI: s.pki.Fingerprints(), Prefix: s.config.Etcd.Prefix, Kubernetes: s.keptRelease()}
	if s.record.equal(r) {
		return nil
	}
	if r.Etcd == etcdExternal && s.record != nil && s.record.Etcd != etcdExternal && memberdir.HasData(filepath.Join(s.dir, "etcd")) {
		s.config.Logger.Warn("the objects in DataDir are no longer used, but those in Config.Etcd.Endpoints: make sure that you meant it",
			zap.String("dir", filepath.Join(s.dir, "etcd")))
	}
	if changed := s.record.changed(r); len(changed) > 0 {
		s.config.Logger.Warn("DataDir has other keys than at the last start, as in a rotation: make sure that you meant it",
			zap.Strings("keys", changed), zap.String("dir", s.pkiDir()))
	}
	if err := r.write(s.dir); err != nil {
		return err
	}
	s.record = &r
	return nil
}

// changed returns the names of keys that were there before and have changed.
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
