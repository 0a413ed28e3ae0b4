// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// hostName is the name of this binary as the host of a control plane.
const hostName = "kubembed-host"

// hostConfig is the first line that a host reads.
type hostConfig struct {
	DataDir string
	Etcd    controlplane.Etcd
	PKI     []byte
}

// hostReady is the first line that a host writes.
type hostReady struct {
	Kubeconfig []byte
	Err        string // error of the start
}

// command is another line, and result the answer to it.
type command struct {
	Do             string // members, add, remove, snapshot, stop
	Name, PeerAddr string
	File           string // for the snapshot
}

type result struct {
	Err     string
	Join    []string
	Members []etcd.ClusterMember
}

// hostMain runs a control plane until it gets the command to stop, or the test has
// died.
func hostMain() error {
	stdin := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	var cfg hostConfig
	if err := readLine(stdin, &cfg); err != nil {
		return err
	}
	logger := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(os.Stderr), zap.InfoLevel))
	cp, err := controlplane.Start(context.Background(), controlplane.Config{
		DataDir: cfg.DataDir, Etcd: cfg.Etcd, PKI: cfg.PKI, Logger: logger,
	})
	if err != nil {
		return errors.Join(err, out.Encode(hostReady{Err: err.Error()}))
	}
	kubeconfig, err := cp.Kubeconfig("admin", "system:masters")
	if err != nil {
		return err
	}
	if err := out.Encode(hostReady{Kubeconfig: kubeconfig}); err != nil {
		return err
	}
	go func() {
		<-cp.Done()
		if err := cp.Err(); err != nil {
			fmt.Fprintln(os.Stderr, "ended by itself:", err)
			os.Exit(2)
		}
	}()
	for {
		var c command
		if err := readLine(stdin, &c); errors.Is(err, io.EOF) || c.Do == "stop" {
			return cp.Close()
		} else if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		var r result
		var err error
		switch c.Do {
		case "members":
			r.Members, err = cp.Members(ctx)
		case "add":
			r.Join, err = cp.AddMember(ctx, c.Name, c.PeerAddr)
		case "remove":
			err = cp.RemoveMember(ctx, c.Name)
		case "snapshot":
			err = snapshotTo(ctx, cp, c.File)
		}
		cancel()
		if err != nil {
			r.Err = err.Error()
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
}

func snapshotTo(ctx context.Context, cp *controlplane.Server, path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(cp.Snapshot(ctx, file), file.Close())
}

func readLine(r *bufio.Reader, into any) error {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, into)
}
