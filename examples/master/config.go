// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// config returns the configuration of the flags.
func (o options) config(stderr io.Writer) (controlplane.Config, error) {
	cfg := controlplane.Config{
		DataDir:          o.dataDir,
		NewCluster:       o.newCluster,
		BindAddress:      o.bindAddress,
		AdvertiseAddress: o.advertiseAddress,
		InsecureAddr:     o.insecureAddr,
		Hosts:            o.hosts,
		Serving:          apiserver.Serving{CertFile: o.tlsCertFile, KeyFile: o.tlsKeyFile},
		Snapshots:        controlplane.Snapshots{Interval: o.snapshotInterval, Keep: o.snapshotKeep, Dir: o.snapshotDir},
		Encryption:       apiserver.Encryption{Resources: o.encryptionResources},
		Logger:           o.logger(stderr),
	}
	cfg.Authentication.ConfigurationFile = o.authenticationConfig
	cfg.Admission.ConfigurationFile, cfg.EnableAdmissionPlugins = o.admissionConfig, o.admissionPlugins
	cfg.Audit.PolicyFile = o.auditPolicy
	if o.auditLog != "" {
		cfg.Audit.Log.Path, cfg.Audit.Log.MaxSizeMB, cfg.Audit.Log.MaxBackups = o.auditLog, 100, 10
	}
	if o.rootCAFile != "" {
		roots, err := os.ReadFile(o.rootCAFile)
		if err != nil {
			return cfg, usagef("--root-ca-file: %w", err)
		}
		if len(roots) == 0 { // the library would take it for none
			return cfg, usagef("--root-ca-file: %s is empty: it must have certificates in PEM", o.rootCAFile)
		}
		cfg.Serving.RootCAs = roots
	}
	if o.snapshotKeyFile != "" {
		key, err := readKey("--snapshot-key-file", o.snapshotKeyFile)
		if err != nil {
			return cfg, err
		}
		cfg.SnapshotKey = key
	}
	for _, file := range o.encryptionKeyFiles {
		key, err := readKey("--encryption-key-file", file)
		if err != nil {
			return cfg, err
		}
		cfg.Encryption.Keys = append(cfg.Encryption.Keys, apiserver.EncryptionKey{Secretbox: key})
	}
	if o.scheduler {
		cfg.Components = append(cfg.Components, scheduler.New(scheduler.Config{}))
	}
	if o.controllers {
		cfg.Components = append(cfg.Components, controllers.New(controllers.Config{
			Controllers: []string{controllers.Workloads, controllers.Nodes},
		}))
	}
	if o.simulatedNodes > 0 {
		cfg.Components = append(cfg.Components, hollownode.New(hollownode.Config{
			Count:   o.simulatedNodes,
			Address: o.nodeAddress(),
		}))
	}
	return cfg, nil
}

// nodeAddress returns the address at which simulated nodes listen. A control plane that
// listens on more than loopback does not connect to kubelets on loopback.
func (o options) nodeAddress() string {
	host, _, err := net.SplitHostPort(o.bindAddress)
	if err != nil {
		return "" // Validate reports the problem
	}
	ip := net.ParseIP(host)
	if host == "localhost" || ip.IsLoopback() {
		return ""
	}
	if ip == nil || ip.IsUnspecified() {
		if ip, err = utilnet.ResolveBindAddress(ip); err != nil {
			return ""
		}
	}
	return net.JoinHostPort(ip.String(), "0")
}

// logger returns a logger to stderr. From --v=2 on it has the details of Kubernetes: this
// program owns its process, so it may set klog's verbosity.
func (o options) logger(stderr io.Writer) *zap.Logger {
	level := zapcore.WarnLevel
	switch {
	case o.verbosity == 1:
		level = zapcore.InfoLevel
	case o.verbosity > 1:
		level = zapcore.DebugLevel
		flags := flag.NewFlagSet("klog", flag.ContinueOnError)
		klog.InitFlags(flags)
		_ = flags.Set("v", strconv.Itoa(o.verbosity)) // a number is never an error
	}
	encoder := zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig())
	return zap.New(logInFlags{zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(stderr)), level)})
}

// readKey reads a key of at least 32 bytes, raw or in base64.
func readKey(name, path string) ([]byte, error) {
	const least = 32
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, usagef("%s: %w", name, err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(data)))
	if err == nil && len(key) >= least {
		return key, nil
	}
	if len(data) >= least {
		return data, nil
	}
	return nil, usagef("%s: %s: must have %d random bytes, raw or in base64: head -c %d /dev/urandom | base64 > %s", name, path, least, least, path)
}

// restoreSnapshot creates --data-dir from the snapshot of --restore.
func (o options) restoreSnapshot(ctx context.Context, cfg controlplane.Config) (err error) {
	if o.restore == "" {
		return nil
	}
	file, err := os.Open(o.restore)
	if err != nil {
		return usagef("--restore: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	err = controlplane.Restore(ctx, o.dataDir, file, controlplane.RestoreConfig{Key: cfg.SnapshotKey, Logger: cfg.Logger})
	switch {
	case errors.Is(err, etcd.ErrHasData):
		return usagef("--restore: %w; if the snapshot was restored before, leave --restore out", err)
	case err != nil:
		return fmt.Errorf("--restore: %w", err)
	}
	return nil
}
