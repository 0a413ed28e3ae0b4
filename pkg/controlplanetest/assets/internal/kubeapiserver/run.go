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
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/util/wait"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/rest"
	logsapi "k8s.io/component-base/logs/api/v1"

	"github.com/kubembed/kubembed/internal/tempdir"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// These are kube-apiserver's: k8s.io/apiserver/pkg/storage/storagebackend/factory.
const (
	dialTimeout      = 20 * time.Second
	keepaliveTime    = 30 * time.Second
	keepaliveTimeout = 10 * time.Second
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
	c, err := f.config()
	if err != nil {
		return err
	}
	if err := logsapi.ValidateAndApply(f.Logs, utilfeature.DefaultFeatureGate); err != nil {
		return err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	c.Logger = logger(stderr)
	// The directory has private keys. It is removed at the end of the process, or by
	// the next process if this one is killed.
	temporary, err := tempdir.Make("kube-apiserver")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, temporary.Remove()) }()
	defer sweep(ctx)()
	directory := temporary.Path
	if c.Listener, err = f.listen(); err != nil {
		return err
	}
	defer func() { _ = c.Listener.Close() }()
	if c.PKI, err = f.identities(directory); err != nil {
		return err
	}
	if c.Dir, err = os.MkdirTemp(directory, "run-"); err != nil {
		return err
	}
	if c.Client, err = f.etcd(ctx, c.Logger.Named("etcd-client")); err != nil {
		if ctx.Err() != nil {
			return nil // ended before it was ready
		}
		return err
	}
	defer func() { _ = c.Client.Close() }()
	return serve(ctx, c)
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
		return err
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

// etcd connects like kube-apiserver, and waits for an answer.
func (f *flags) etcd(ctx context.Context, logger *zap.Logger) (*clientv3.Client, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            f.Etcd.StorageConfig.Transport.ServerList,
		DialTimeout:          dialTimeout,
		DialKeepAliveTime:    keepaliveTime,
		DialKeepAliveTimeout: keepaliveTimeout,
		Logger:               logger,
	})
	if err != nil {
		return nil, fmt.Errorf("--etcd-servers: %w", err)
	}
	last := errors.New("no answer")
	if err := wait.PollUntilContextTimeout(ctx, etcdTimeout/100, etcdTimeout, true, func(ctx context.Context) (bool, error) {
		if _, err := client.Get(ctx, "health"); err != nil {
			if ctx.Err() == nil {
				last = err
			}
			return false, nil
		}
		return true, nil
	}); err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("--etcd-servers=%s: etcd did not answer for %s: %w", strings.Join(client.Endpoints(), ","), etcdTimeout, last)
	}
	return client, nil
}

func (f *flags) listen() (net.Listener, error) {
	address := net.JoinHostPort(f.SecureServing.BindAddress.String(), strconv.Itoa(f.SecureServing.BindPort))
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--bind-address and --secure-port: %w", err)
	}
	return listener, nil
}

func logger(w io.Writer) *zap.Logger {
	encoder := zapcore.NewConsoleEncoder(zap.NewProductionEncoderConfig())
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), zap.WarnLevel))
}
