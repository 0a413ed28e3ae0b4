// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubembed/kubembed/pkg/etcd"
	"github.com/kubembed/kubembed/pkg/pki"
)

// TestFloodOfPeerPorts: clients hold more connections to the members of a cluster than
// the process may open files. The cluster continues, and a member that restarts joins it.
func TestFloodOfPeerPorts(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"=flooded "+t.TempDir())
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(stdout)
	line := func() string {
		lines.Scan()
		return lines.Text()
	}
	addresses := strings.Fields(line())
	if len(addresses) != 6 {
		t.Fatal(addresses)
	}
	ctx, leave := context.WithCancel(t.Context())
	var flood, first sync.WaitGroup
	for _, address := range addresses {
		first.Add(1)
		flood.Go(func() { hold(ctx, address, floodFiles/4, first.Done) })
	}
	first.Wait()
	if _, err := fmt.Fprintln(stdin, "go"); err != nil {
		t.Fatal(err)
	}
	if said := line(); said != "went on" {
		t.Error(said)
	}
	leave()
	flood.Wait()
	_ = stdin.Close()
	if said := line(); said != "closed: <nil>" {
		t.Error(said)
	}
}

// floodFiles is the limit of open files of the members' process.
const floodFiles = 400

// hold keeps number connections open, and replaces closed ones.
func hold(ctx context.Context, address string, number int, first func()) {
	open := make([]net.Conn, number)
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	for {
		for i, conn := range open {
			if conn != nil {
				_ = conn.SetReadDeadline(time.Now().Add(50 * time.Microsecond))
				if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
					continue
				}
				_ = conn.Close()
			}
			open[i], _ = (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		}
		if first != nil {
			first()
			first = nil
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			for _, conn := range open {
				if conn != nil {
					_ = conn.Close()
				}
			}
			return
		}
	}
}

// flooded runs three members, and stops and starts one of them.
func flooded(dir string) (err error) {
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: floodFiles, Max: floodFiles}); err != nil {
		return err
	}
	names := []string{"a", "b", "c"}
	first := map[string]string{}
	for _, name := range names {
		first[name] = peerAddr()
	}
	var authority []byte
	configs := map[string]etcd.Config{}
	var addresses []string
	for _, name := range names {
		host := strings.TrimSuffix(first[name], ":2380")
		p, err := pki.Open(pki.Config{Dir: filepath.Join(dir, name, "pki"), EtcdMember: []string{host}, Import: authority})
		if err == nil {
			authority, err = p.Export()
		}
		if err != nil {
			return err
		}
		cluster := &etcd.Cluster{Name: name, PeerAddr: first[name], ClientAddr: host + ":2379", InitialCluster: first}
		cluster.CA, cluster.Cert, cluster.Key = p.EtcdFiles()
		configs[name] = etcd.Config{Dir: filepath.Join(dir, name, "etcd"), Cluster: cluster}
		addresses = append(addresses, cluster.PeerAddr, cluster.ClientAddr)
	}
	members := map[string]*etcd.Member{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for name, cfg := range configs {
		all.Go(func() {
			m, startErr := startMember(cfg)
			mu.Lock()
			defer mu.Unlock()
			members[name] = m
			err = errors.Join(err, startErr)
		})
	}
	all.Wait()
	if err != nil {
		return err
	}
	fmt.Println(strings.Join(addresses, " "))
	in := bufio.NewScanner(os.Stdin)
	in.Scan()

	puts := func(name string) error {
		for i := range 5 {
			key := fmt.Sprint(name, i)
			if err := retry(func(ctx context.Context) error {
				_, err := members[name].Client().Put(ctx, key, strings.Repeat("x", 100_000))
				return err
			}); err != nil {
				return fmt.Errorf("a put by %s: %w", name, err)
			}
		}
		return nil
	}
	if err := puts("a"); err != nil {
		return err
	}
	if err := members["b"].Close(); err != nil {
		return err
	}
	if err := puts("c"); err != nil {
		return err
	}
	if members["b"], err = startMember(configs["b"]); err != nil {
		return err
	}
	if err := puts("b"); err != nil {
		return err
	}
	for name, m := range members {
		if m.Err() != nil {
			return fmt.Errorf("member %s: %w", name, m.Err())
		}
	}
	fmt.Println("went on")
	in.Scan()
	for _, m := range members {
		err = errors.Join(err, m.Close())
	}
	fmt.Println("closed:", err)
	return nil
}

// retry repeats attempt for a minute.
func retry(attempt func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		once, done := context.WithTimeout(ctx, 5*time.Second)
		err := attempt(once)
		done()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}
