// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// restoreMain restores a snapshot into a directory.
func restoreMain(args []string) error {
	data, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	fmt.Println("begins")
	if err := controlplane.Restore(context.Background(), args[0], bytes.NewReader(data), controlplane.RestoreConfig{}); err != nil {
		return err
	}
	fmt.Println("restored")
	return nil
}

// TestKilledRestore kills restores at any moment: the directory has all objects, or is
// refused until it is restored again.
func TestKilledRestore(t *testing.T) {
	t.Parallel()
	server := start(t, controlplane.Config{})
	const objects = 50
	for i := range objects {
		putConfigMap(t, admin(t, server), fmt.Sprintf("kept-%d", i), "x")
	}
	joinKubeconfig(t, server, 0)
	ca, data := server.CABundle(), snapshotOf(t, server)
	closeServer(t, server)
	file := filepath.Join(t.TempDir(), "snapshot.tar")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	complete := func(server *controlplane.Server) {
		t.Helper()
		defer closeServer(t, server)
		for i := range objects {
			wantConfigMap(t, server, fmt.Sprintf("kept-%d", i), "x")
		}
		if !bytes.Equal(server.CABundle(), ca) {
			t.Error("got another CA, want the one of before")
		}
		if names := tokens(t, server); len(names) > 0 {
			t.Errorf("valid join files of before: got %v, want none", names)
		}
	}
	process := startProcess(t, "restore", filepath.Join(t.TempDir(), "data"), file)
	process.readLine(t)
	begin := time.Now()
	process.readLine(t)
	length := time.Since(begin)

	outcomes := map[string]int{}
	for round := range 10 {
		dir := filepath.Join(t.TempDir(), fmt.Sprint(round))
		process := startProcess(t, "restore", dir, file)
		process.readLine(t)
		// In each tenth of a restore.
		time.Sleep(length/10*time.Duration(round) + rand.N(length/10))
		if err := process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = process.Wait()
		if begun, _ := filepath.Glob(filepath.Join(dir, "etcd", "[rm]e*")); len(begun) == 0 { // restoring, member
			outcomes["killed before it had begun"]++
			if err := controlplane.Restore(t.Context(), dir, bytes.NewReader(data), controlplane.RestoreConfig{}); err != nil {
				t.Fatal(err)
			}
			complete(start(t, controlplane.Config{DataDir: dir}))
			continue
		}
		server, err := controlplane.Start(t.Context(), controlplane.Config{DataDir: dir})
		if err == nil {
			outcomes["has everything"]++
			complete(server)
			continue
		}
		outcomes["is refused"]++
		if !errors.Is(err, etcd.ErrCorrupt) || lacks(err.Error(), "Config.DataDir", dir, "restore again") != "" {
			t.Errorf("Start: got %v, want ErrCorrupt that says to restore %s again", err, dir)
		}
		if err := controlplane.Restore(t.Context(), dir, bytes.NewReader(data), controlplane.RestoreConfig{}); err != nil {
			t.Fatal(err)
		}
		complete(start(t, controlplane.Config{DataDir: dir}))
	}
	t.Logf("a restore of %d bytes took %v; outcomes of the kills: %v", len(data), length, outcomes)
	if outcomes["is refused"] == 0 {
		t.Error("no restore was killed while it worked")
	}
}
