// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Command write writes the DataDirs of package olddata with the release that it is
// built from. See the documentation of that package.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/version"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/kubembed/kubembed/internal/olddata"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/etcd"
)

func main() {
	out := flag.String("out", "", "directory to write to; a directory named after the Kubernetes version is made in it")
	plane := flag.String("plane", "", "internal: run a control plane in this directory")
	flag.Parse()
	var err error
	switch {
	case *plane != "":
		err = runPlane(context.Background(), *plane)
	case *out != "":
		err = write(context.Background(), filepath.Join(*out, apiserver.KubernetesVersion))
	default:
		err = errors.New("-out is required")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "write:", err)
		os.Exit(1)
	}
}

// write writes both archives.
func write(ctx context.Context, out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, name := range []string{olddata.Stopped, olddata.Encrypted} {
		if err := writeOne(ctx, out, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func writeOne(ctx context.Context, out, name string) error {
	dir, err := os.MkdirTemp("", "olddata-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	record := &olddata.Record{
		Kubernetes: apiserver.KubernetesVersion, Etcd: version.Version, Made: time.Now().UTC().Truncate(time.Second),
		Killed: name == olddata.Encrypted,
	}
	if name == olddata.Encrypted {
		record.Secretbox = make([]byte, 32)
		_, _ = rand.Read(record.Secretbox)
	} else {
		record.SnapshotKey = make([]byte, 32)
		_, _ = rand.Read(record.SnapshotKey)
	}
	if err := store(dir, record); err != nil {
		return err
	}
	if err := inProcess(dir, record.Killed); err != nil {
		return err
	}
	if err := load(dir, record); err != nil {
		return err
	}
	if err := listKeys(ctx, dir, record); err != nil {
		return err
	}
	fmt.Printf("%s: %d keys, %d objects, revision %d\n", name, len(record.Keys), len(record.Objects), record.Revision)
	return olddata.Pack(out, name, dir, record)
}

// recordFile passes the record between the two processes.
const recordFile = "record.json"

func store(dir string, record *olddata.Record) error {
	data, err := json.Marshal(record)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, recordFile), data, 0o600)
}

func load(dir string, record *olddata.Record) error {
	data, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return err
	}
	return json.Unmarshal(data, record)
}

// inProcess runs the control plane in its own process, and stops or kills it when
// everything is written.
func inProcess(dir string, kill bool) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "-plane", dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "written" {
		return errors.Join(fmt.Errorf("nothing was written: %q", line), cmd.Wait())
	}
	if kill {
		err = cmd.Process.Kill()
		_ = cmd.Wait()
		return err
	}
	if err := stdin.Close(); err != nil {
		return err
	}
	return cmd.Wait()
}

// runPlane runs in that process: it writes, reports that, and stops when stdin ends.
func runPlane(ctx context.Context, dir string) (err error) {
	record := &olddata.Record{}
	if err := load(dir, record); err != nil {
		return err
	}
	server, err := controlplane.Start(ctx, config(dir, record))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	w, err := newWriter(server.ClientConfig())
	if err != nil {
		return err
	}
	if err := w.write(ctx); err != nil {
		return err
	}
	const life = 10 * 365 * 24 * time.Hour
	if record.Token, err = w.token(ctx); err != nil {
		return err
	}
	if record.Admin, err = server.NewKubeconfig(controlplane.KubeconfigOptions{User: "admin", Groups: []string{"system:masters"}, Lifetime: life}); err != nil {
		return err
	}
	if record.Join, err = server.JoinKubeconfig(ctx, life); err != nil {
		return err
	}
	if record.SnapshotKey != nil {
		if err := server.WriteSnapshot(ctx, filepath.Join(dir, olddata.Snapshot)); err != nil {
			return err
		}
	}
	if err := w.settle(ctx); err != nil {
		return err
	}
	if record.Objects, err = w.list(ctx); err != nil {
		return err
	}
	if record.Killed {
		last, err := w.lastObjects(ctx)
		if err != nil {
			return err
		}
		record.Objects = append(record.Objects, last...)
	}
	if err := store(dir, record); err != nil {
		return err
	}
	fmt.Println("written")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// listKeys reads all keys of etcd from a copy, because a start writes.
func listKeys(ctx context.Context, dir string, record *olddata.Record) (err error) {
	copied, err := os.MkdirTemp("", "olddata-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(copied) }()
	at := filepath.Join(copied, "etcd")
	if err := os.CopyFS(at, os.DirFS(filepath.Join(dir, olddata.DataDir, "etcd"))); err != nil {
		return err
	}
	if err := os.Chmod(at, 0o700); err != nil {
		return err
	}
	member, err := etcd.Start(ctx, etcd.Config{Dir: at})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, member.Close()) }()
	got, err := member.Client().Get(ctx, "\x00", clientv3.WithFromKey())
	if err != nil {
		return err
	}
	record.Revision, record.Keys = got.Header.Revision, olddata.Keys(got.Kvs)
	return nil
}

// config returns the configuration of the control plane.
func config(dir string, record *olddata.Record) controlplane.Config {
	cfg := controlplane.Config{DataDir: filepath.Join(dir, olddata.DataDir), SnapshotKey: record.SnapshotKey}
	if record.Secretbox != nil {
		cfg.Encryption.Keys = []apiserver.EncryptionKey{{Secretbox: record.Secretbox}}
	}
	return cfg
}
