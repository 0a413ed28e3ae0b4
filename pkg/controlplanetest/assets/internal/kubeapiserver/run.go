// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/util/wait"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/rest"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kubernetes/pkg/capabilities"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/tempdir"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// etcdTimeout bounds the wait for etcd's first answer. envtest waits for 20 seconds.
const etcdTimeout = 15 * time.Second

// Main runs the program until ctx ends, and returns the exit code. It must have a process
// of its own.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f, err := parse(args)
	switch {
	case err != nil:
	case f.help:
		f.usage(stdout)
		return 0
	case f.version:
		fmt.Fprintln(stdout, "Kubernetes", apiserver.KubernetesVersion)
		return 0
	default:
		err = run(ctx, f, stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "kube-apiserver:", err)
		return 1
	}
	return 0
}

// run serves until ctx ends or a part of the server fails.
func run(ctx context.Context, f *flags, stderr io.Writer) (err error) {
	if err := logsapi.ValidateAndApply(f.Logs, utilfeature.DefaultFeatureGate); err != nil {
		return err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	// The directory has private keys. It is removed at the end of the process, or by
	// the next process if this one is killed.
	temporary, err := tempdir.Make("kube-apiserver")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, temporary.Remove()) }()
	defer sweep(ctx)()
	completed, err := f.complete(ctx, temporary.Path)
	if err != nil {
		return err
	}
	c, err := completed.config()
	if err != nil {
		return err
	}
	c.Logger = logger(stderr)
	access.SetFlags(&c, f.Flagz)
	access.SetProxyClient(&c, f.ProxyClientCertFile, f.ProxyClientKeyFile)
	completed.configureProcess()
	if c.Listener, err = f.listen(); err != nil {
		return err
	}
	defer func() { _ = c.Listener.Close() }()
	if c.PKI, err = completed.identities(filepath.Join(temporary.Path, "pki")); err != nil {
		return err
	}
	if c.Dir, err = os.MkdirTemp(temporary.Path, "run-"); err != nil {
		return err
	}
	if err := completed.encryption(ctx, &c); err != nil {
		return err
	}
	endTraces, err := completed.trace(&c)
	if err != nil {
		return err
	}
	defer func() { _ = lastly(ctx, endTraces) }()
	connection, err := connect(ctx, "--etcd-servers", f.etcd(), c.Logger)
	if err != nil {
		if ctx.Err() != nil {
			return nil // ended before it was ready
		}
		return err
	}
	defer func() { _ = connection.Close() }()
	c.Client, c.Dial = connection.Client(), connection.DialContext
	closeOverrides, err := f.connectOverrides(ctx, &c)
	defer closeOverrides()
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	return serve(ctx, c)
}

// configureProcess applies the flags about what belongs to the process.
func (f *completed) configureProcess() {
	// Only the first call counts: package apiserver's comes later.
	capabilities.Setup(f.kube.allowPrivileged, f.MaxConnectionBytesPerSec)
	f.Metrics.Apply()
}

// sweep removes the directories of killed processes, until ctx ends or stop is called.
func sweep(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		_, _ = tempdir.Sweep(ctx) // the next process tries again
	}()
	return func() {
		cancel()
		<-swept
	}
}

func serve(ctx context.Context, c apiserver.Config) error {
	server, err := apiserver.New(c)
	if err != nil {
		return inFlags(err)
	}
	if err := server.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // ended before it was ready
		}
		return inFlags(err)
	}
	parts, cancelParts := context.WithCancel(ctx)
	defer cancelParts()
	failed := make(chan error, 1)
	if c.Controllers {
		go func() { failed <- runControllers(parts, server, c) }()
	} else {
		context.AfterFunc(parts, func() { failed <- nil })
	}
	select {
	case err = <-failed:
	case <-server.Failed():
		cancelParts()
		err = errors.Join(server.Err(), <-failed)
	}
	// With a context that has ended, Stop cuts requests in flight.
	cut, cancel := context.WithCancel(context.Background())
	cancel()
	return errors.Join(err, server.Stop(cut))
}

// connect waits for an answer of etcd. flag has its endpoints.
func connect(ctx context.Context, flag string, config etcd.ExternalConfig, logger *zap.Logger) (connection *etcd.Connection, err error) {
	config.Logger = logger.Named("etcd-client")
	if waitErr := wait.PollUntilContextTimeout(ctx, etcdTimeout/100, etcdTimeout, true, func(ctx context.Context) (bool, error) {
		connection, err = etcd.Connect(ctx, config)
		return err == nil, nil
	}); waitErr != nil {
		return nil, fmt.Errorf("%s=%s: etcd did not answer for %s: %w", flag, strings.Join(config.Endpoints, ","), etcdTimeout, err)
	}
	return connection, nil
}

// connectOverrides connects to the etcds of --etcd-servers-overrides, as connect does.
// The caller must call the function that it returns, also after an error.
func (f *flags) connectOverrides(ctx context.Context, c *apiserver.Config) (closeAll func(), err error) {
	var connections []*etcd.Connection
	closeAll = func() {
		for _, connection := range connections {
			_ = connection.Close()
		}
	}
	overrides, err := genericoptions.ParseEtcdServersOverrides(f.Etcd.EtcdServersOverrides)
	if err != nil {
		return closeAll, fmt.Errorf("--etcd-servers-overrides: %w", err)
	}
	for _, o := range overrides {
		config := f.etcd()
		config.Endpoints = o.Servers
		connection, err := connect(ctx, "--etcd-servers-overrides", config, c.Logger)
		if err != nil {
			return closeAll, err
		}
		connections = append(connections, connection)
		c.EtcdOverrides = append(c.EtcdOverrides, apiserver.EtcdOverride{Resources: []string{o.GroupResource.String()}, Client: connection.Client()})
	}
	return closeAll, nil
}

// listen listens with upstream's code, for the flags about sharing of addresses.
func (f *flags) listen() (net.Listener, error) {
	var info *genericapiserver.SecureServingInfo
	if err := f.SecureServing.SecureServingOptions.ApplyTo(&info); err != nil {
		return nil, fmt.Errorf("--bind-address and --secure-port: %w", err)
	}
	return info.Listener, nil
}

func logger(w io.Writer) *zap.Logger {
	encoder := zapcore.NewConsoleEncoder(zap.NewProductionEncoderConfig())
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), zap.WarnLevel))
}
