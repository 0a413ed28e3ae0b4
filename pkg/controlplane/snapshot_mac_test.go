// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// entry is an entry of an archive.
type entry struct {
	header tar.Header
	data   []byte
}

func entriesOf(t *testing.T, archive []byte) (all []entry) {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, entry{*header, data})
	}
}

// archived is the reverse of entriesOf.
func archived(t *testing.T, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.header.Size = int64(len(e.data))
		if err := w.WriteHeader(&e.header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// summedUp recomputes the checksums, like an attacker who changes a snapshot.
func summedUp(entries []entry) []entry {
	var sums strings.Builder
	for i, e := range entries {
		if e.header.Name == "SHA256SUMS" {
			entries[i].data = []byte(sums.String())
			return entries
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(e.data), e.header.Name)
	}
	return entries
}

// TestRestoreWithKey: Restore accepts only complete snapshots that were made with the
// key, and leaves nothing of others.
func TestRestoreWithKey(t *testing.T) {
	key, otherKey := bytes.Repeat([]byte("k"), 32), bytes.Repeat([]byte("o"), 32)
	dir := filepath.Join(t.TempDir(), "scheduled")
	server := start(t, controlplane.Config{SnapshotKey: key, Snapshots: controlplane.Snapshots{Dir: dir, Interval: 20 * time.Millisecond}})
	first := snapshotOf(t, server)
	putConfigMap(t, admin(t, server), "later", "x")
	second := snapshotOf(t, server)
	testwait.True(t, "a scheduled snapshot", func() bool {
		list, _ := filepath.Glob(filepath.Join(dir, "kubembed-*.tar"))
		return len(list) > 0
	})
	closeServer(t, server)
	scheduled, err := filepath.Glob(filepath.Join(dir, "kubembed-*.tar"))
	if err != nil || len(scheduled) == 0 {
		t.Fatal(scheduled, err)
	}
	newest, err := os.ReadFile(scheduled[len(scheduled)-1])
	if err != nil {
		t.Fatal(err)
	}
	keyed := controlplane.RestoreConfig{Key: key}
	restored(t, first, keyed)
	restored(t, second, keyed)
	restored(t, newest, keyed)
	restored(t, second, controlplane.RestoreConfig{})
	if names := unpack(t, first); len(names) != 5 || len(names["HMAC-SHA256"]) != 65 {
		t.Errorf("got %d files and a MAC of %d bytes, want 5 and 65", len(names), len(names["HMAC-SHA256"]))
	}

	// changed is the second snapshot after a change with correct checksums.
	changed := func(change func(all []entry) []entry) []byte {
		return archived(t, summedUp(change(entriesOf(t, second))))
	}
	at := func(name string) int {
		return slices.IndexFunc(entriesOf(t, second), func(e entry) bool { return e.header.Name == name })
	}
	from := func(names ...string) []byte { // the first
		return changed(func(all []entry) []entry {
			for _, name := range names {
				all[at(name)] = entriesOf(t, first)[at(name)]
			}
			return all
		})
	}
	flip := func(at int) []byte {
		flipped := bytes.Clone(second)
		flipped[at] ^= 4
		return flipped
	}
	if !bytes.Equal(changed(func(all []entry) []entry { return all }), second) {
		t.Error("archived does not make the same archive, so that what follows may be refused for another reason")
	}
	for name, data := range map[string][]byte{
		"MAC cut off":            changed(func(all []entry) []entry { return all[:at("HMAC-SHA256")] }),
		"sums and MAC cut off":   changed(func(all []entry) []entry { return all[:at("SHA256SUMS")] }),
		"database of the first":  from("etcd.db"),
		"MAC of the first":       from("HMAC-SHA256"),
		"description of another": from("snapshot.json"),
		"another key in pki.pem": changed(func(all []entry) []entry { all[at("pki.pem")].data = append(all[at("pki.pem")].data, '\n'); return all }),
		"later time in a header": changed(func(all []entry) []entry { all[0].header.ModTime = time.Unix(2e9, 0); return all }),
		"other mode in a header": changed(func(all []entry) []entry { all[1].header.Mode = 0o644; return all }),
		"entries in other order": changed(func(all []entry) []entry { all[1], all[2] = all[2], all[1]; return all }),
		"an entry twice":         changed(func(all []entry) []entry { return slices.Insert(all, 1, all[0]) }),
		"database twice":         changed(func(all []entry) []entry { return slices.Insert(all, 2, all[1]) }),
		"MAC twice":              changed(func(all []entry) []entry { return append(all, all[at("HMAC-SHA256")]) }),
		"entry before the MAC":   changed(func(all []entry) []entry { return slices.Insert(all, at("HMAC-SHA256"), all[0]) }),
		"entry after the MAC":    changed(func(all []entry) []entry { return append(all, all[0]) }),
		"MAC in upper case": changed(func(all []entry) []entry {
			m := at("HMAC-SHA256")
			all[m].data = bytes.ToUpper(all[m].data)
			return all
		}),
		"MAC and more":            changed(func(all []entry) []entry { m := at("HMAC-SHA256"); all[m].data = append(all[m].data, 'x'); return all }),
		"MAC empty":               changed(func(all []entry) []entry { all[at("HMAC-SHA256")].data = nil; return all }),
		"MAC of another name":     changed(func(all []entry) []entry { all[at("HMAC-SHA256")].header.Name = "hmac"; return all }),
		"more after the end":      append(bytes.Clone(second), "more"...),
		"zeros after the end":     append(bytes.Clone(second), make([]byte, 512)...),
		"another after the end":   append(bytes.Clone(second), first...),
		"cut by a byte":           second[:len(second)-1],
		"cut by a block":          second[:len(second)-512],
		"cut by its end":          second[:len(second)-1024],
		"cut in the MAC":          second[:len(second)-1500],
		"cut in half":             second[:len(second)/2],
		"empty":                   nil,
		"a bit of etcd.db":        flip(len(second) / 2),
		"a bit of pki.pem":        flip(bytes.Index(second, []byte("PRIVATE KEY")) + 20),
		"a bit of the padding":    flip(bytes.LastIndex(second, []byte("HMAC-SHA256")) - 1),
		"a database of etcdctl":   unpack(t, second)["etcd.db"],
		"compressed":              append([]byte{0x1f, 0x8b}, second...),
		"nothing of ours":         bytes.Repeat([]byte("x"), 2000),
		"a database and a MAC":    append(unpack(t, second)["etcd.db"], unpack(t, second)["HMAC-SHA256"]...),
		"of another key":          nil, // below
		"of nobody who had a key": nil,
	} {
		cfg := keyed
		switch name {
		case "of another key":
			data, cfg.Key = second, otherKey
		case "of nobody who had a key":
			data = changed(func(all []entry) []entry { return all[:at("HMAC-SHA256")] })
		}
		dir := filepath.Join(t.TempDir(), "data")
		err := controlplane.Restore(t.Context(), dir, bytes.NewReader(data), cfg)
		if !errors.Is(err, controlplane.ErrNotAuthentic) {
			t.Errorf("%s: %v, want ErrNotAuthentic", name, err)
		}
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: left behind: got %v, want nothing", name, entries(t, dir))
		}
	}
}

func TestShortSnapshotKey(t *testing.T) {
	if err := (controlplane.RestoreConfig{Key: []byte{}}).Validate(); err == nil || lacks(err.Error(), "Key", "0 bytes") != "" {
		t.Errorf("an empty key: got %v, want that it has 0 bytes", err)
	}
	if err := (controlplane.Config{SnapshotKey: []byte{}}).Validate(); err == nil || lacks(err.Error(), "SnapshotKey", "0 bytes") != "" {
		t.Errorf("an empty key: got %v, want that it has 0 bytes", err)
	}
	short := []byte("correct horse battery staple")
	err := controlplane.Config{SnapshotKey: short}.Validate()
	if err == nil || lacks(err.Error(), "SnapshotKey", "28 bytes", "at least 32") != "" || strings.Contains(err.Error(), string(short)) {
		t.Errorf("Config: got %v, want both lengths and not the key", err)
	}
	err = controlplane.RestoreConfig{Key: short}.Validate()
	if err == nil || lacks(err.Error(), "Key", "at least 32") != "" || strings.Contains(err.Error(), string(short)) {
		t.Errorf("RestoreConfig: got %v, want the length and not the key", err)
	}
}
