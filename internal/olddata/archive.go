// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package olddata

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"

	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// Names in a directory into which an archive is unpacked.
const (
	// DataDir is the directory to start a control plane on.
	DataDir = "data"
	// Snapshot is a file for controlplane.Restore. Archives of stopped control planes
	// have one.
	Snapshot = "snapshot.tar"

	recordFile = "record.json"
)

// Names of the archives of a release.
const (
	Stopped   = "stopped"
	Encrypted = "encrypted"

	suffix = ".tar.gz"
)

//go:embed testdata
var testdata embed.FS

// Releases returns the Kubernetes versions with DataDirs, sorted by name.
func Releases() ([]string, error) {
	entries, err := testdata.ReadDir("testdata")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// Unpack unpacks the archive name of a release into dir, which exists, and returns its
// record.
func Unpack(dir, release, name string) (*Record, error) {
	file, err := testdata.Open(path.Join("testdata", release, name+suffix))
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	if err := unpack(dir, file); err != nil {
		return nil, fmt.Errorf("olddata: %s of %s: %w", name, release, err)
	}
	return ReadRecord(dir)
}

// ReadRecord returns the record of the archive that was unpacked into dir.
func ReadRecord(dir string) (*Record, error) {
	data, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return nil, err
	}
	record := &Record{}
	// Integers of objects stay integers, as in objects from a client.
	return record, utiljson.Unmarshal(data, record)
}

// sizeRecord is the PAX record with the size of a file whose trailing zeros are not in
// the archive: etcd preallocates 64 MB for each segment of its log.
const sizeRecord = "KUBEMBED.size"

// Pack writes the record and the files below dir to the archive name in the directory
// out.
func Pack(out, name, dir string, record *Record) (err error) {
	data, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, recordFile), data, 0o600); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(out, name+suffix))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	zipped, err := gzip.NewWriterLevel(file, gzip.BestCompression)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(zipped)
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		return pack(archive, dir, path, entry)
	})
	return errors.Join(err, archive.Close(), zipped.Close())
}

func pack(archive *tar.Writer, dir, path string, entry fs.DirEntry) error {
	name, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	header := &tar.Header{Name: filepath.ToSlash(name), Format: tar.FormatPAX}
	switch {
	case entry.IsDir():
		header.Typeflag, header.Mode = tar.TypeDir, 0o700
		return archive.WriteHeader(header)
	case !entry.Type().IsRegular():
		return nil // sockets
	}
	info, err := entry.Info()
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	used, err := withoutZeros(file)
	if err != nil {
		return err
	}
	header.Typeflag, header.Mode, header.Size = tar.TypeReg, 0o600, used
	header.PAXRecords = map[string]string{sizeRecord: strconv.FormatInt(info.Size(), 10)}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(archive, io.NewSectionReader(file, 0, used))
	return err
}

// withoutZeros returns the size of a file without the zeros at its end.
func withoutZeros(file io.Reader) (used int64, err error) {
	buf := make([]byte, 1<<16)
	for at := int64(0); ; {
		n, err := file.Read(buf)
		for i, b := range buf[:n] {
			if b != 0 {
				used = at + int64(i) + 1
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) {
			return used, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

func unpack(dir string, from io.Reader) error {
	zipped, err := gzip.NewReader(bufio.NewReader(from))
	if err != nil {
		return err
	}
	archive := tar.NewReader(zipped)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(header.Name) {
			return fmt.Errorf("%s is not below the directory", header.Name)
		}
		path := filepath.Join(dir, header.Name)
		if header.Typeflag == tar.TypeDir {
			err = os.Mkdir(path, 0o700)
		} else {
			err = unpackFile(path, header, archive)
		}
		if err != nil {
			return err
		}
	}
}

func unpackFile(path string, header *tar.Header, from io.Reader) (err error) {
	size, err := strconv.ParseInt(header.PAXRecords[sizeRecord], 10, 64)
	if err != nil {
		return fmt.Errorf("%s: %w", header.Name, err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := io.Copy(file, from); err != nil {
		return err
	}
	return file.Truncate(size)
}
