// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package audit sends the audit events of an API server to upstream's log and webhook
// backends, and to functions of the host.
package audit

import (
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	upstream "k8s.io/apiserver/pkg/audit"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/egressselector"
	genericoptions "k8s.io/apiserver/pkg/server/options"

	"github.com/kubembed/kubembed/internal/apiserver/kubeconfig"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/ownership"
)

// Options are what apiserver.Audit sets.
type Options struct {
	Log     genericoptions.AuditLogOptions     // off without Path
	Webhook genericoptions.AuditWebhookOptions // off without ConfigFile
	Sinks   []Sink

	// At most one of Policy and PolicyFile is set.
	Policy     *auditv1.Policy
	PolicyFile string

	// Dial connects to the webhook. If nil, a net.Dialer.
	Dial   utilnet.DialFunc
	Logger *zap.Logger
	// Server names the server in metrics.
	Server string
}

// Apply adds a policy and backends to a server configuration, unless there is nothing to
// write to. dir is for the policy, which upstream takes as a file. The backends have no
// goroutines before they run. The caller closes file after the last event.
func Apply(c *genericapiserver.Config, options Options, dir string, file *LogFile) error {
	if options.Log.Path == "" && options.Webhook.ConfigFile == "" && len(options.Sinks) == 0 {
		return nil
	}
	policy, err := options.policyFile(dir)
	if err != nil {
		return err
	}
	if policy != options.PolicyFile {
		defer func() { _ = os.Remove(policy) }() // upstream has read it
	}
	var parts []upstream.Backend
	if options.Log.Path != "" {
		if err := CheckLog(options.Log); err != nil {
			return fieldpath.New("apiserver", "Config.Audit.Log.Path", "%w", err)
		}
		log, err := options.apply(c, &genericoptions.AuditOptions{PolicyFile: policy, LogOptions: options.Log, WebhookOptions: disabledWebhook()}, nil)
		if err != nil {
			return fieldpath.New("apiserver", "Config.Audit.Log.Path", "%w", err)
		}
		if options.Log.Path != Stdout {
			file.take(log)
		}
		parts = append(parts, log)
	}
	if file := options.Webhook.ConfigFile; file != "" {
		if _, err := kubeconfig.Read(file); err != nil {
			return fieldpath.New("apiserver", "Config.Audit.Webhook.KubeconfigFile", "%w", err)
		}
		if options.Webhook.ConfigFile, err = kubeconfig.WithoutFiles(file, dir); err != nil {
			return fieldpath.New("apiserver", "Config.Audit.Webhook.KubeconfigFile", "%w", err)
		}
		network := newNetwork(options.Dial)
		webhook, err := options.apply(c, &genericoptions.AuditOptions{PolicyFile: policy, WebhookOptions: options.Webhook}, network.dial)
		if err != nil {
			return fieldpath.New("apiserver", "Config.Audit.Webhook", "%w", err)
		}
		parts = append(parts, &webhookBackend{Backend: webhook, network: network, logger: options.Logger, kubeconfig: file})
	}
	if len(parts) == 0 { // only the policy
		if _, err := options.apply(c, &genericoptions.AuditOptions{PolicyFile: policy, WebhookOptions: disabledWebhook()}, nil); err != nil {
			return fieldpath.New("apiserver", "Config.Audit", "%w", err)
		}
	}
	for _, sink := range options.Sinks {
		parts = append(parts, newSinkBackend(sink, options.Server, options.Logger))
	}
	c.AuditBackend = group{upstream.Union(parts...), parts}
	return nil
}

// Stdout is the path with which upstream's log backend writes to standard output.
const Stdout = "-"

// CheckLog refuses files that other users control. It also refuses to rotate a device or
// a pipe: upstream would rename it, and continue in a new file with its name.
func CheckLog(log genericoptions.AuditLogOptions) error {
	if log.Path == Stdout {
		return nil
	}
	if err := ownership.Appended(log.Path); err != nil {
		return err
	}
	info, err := os.Stat(log.Path)
	switch {
	case err != nil:
		return nil //nolint:nilerr // upstream creates it
	case info.IsDir():
		return fmt.Errorf("%s is a directory: name a file in it", log.Path)
	case !info.Mode().IsRegular() && log.MaxSize > 0:
		return fmt.Errorf("%s is no regular file (%v), and cannot be rotated: leave out the maximum size", log.Path, info.Mode().Type())
	}
	return nil
}

// disabledWebhook has the version that upstream parses even if there is no webhook.
func disabledWebhook() genericoptions.AuditWebhookOptions {
	return genericoptions.AuditWebhookOptions{GroupVersionString: genericoptions.NewAuditOptions().WebhookOptions.GroupVersionString}
}

// apply sets the policy of c, and returns the backend of o, which has one at most.
func (Options) apply(c *genericapiserver.Config, o *genericoptions.AuditOptions, dial utilnet.DialFunc) (upstream.Backend, error) {
	alone := *c
	alone.AuditBackend, alone.EgressSelector = nil, nil
	if dial != nil {
		alone.EgressSelector = egressselector.NewEgressSelectorWithMap(map[egressselector.EgressType]utilnet.DialFunc{egressselector.ControlPlane: dial})
	}
	if err := o.ApplyTo(&alone); err != nil {
		return nil, err
	}
	c.AuditPolicyRuleEvaluator = alone.AuditPolicyRuleEvaluator
	return alone.AuditBackend, nil
}

// group is a union whose parts are shut down at the same time, since each may take as
// long as it is allowed to.
type group struct {
	upstream.Backend
	parts []upstream.Backend
}

func (g group) Shutdown() {
	var wg sync.WaitGroup
	for _, part := range g.parts {
		wg.Go(part.Shutdown)
	}
	wg.Wait()
}

const (
	// flushTimeout is how long the stop of a server waits until a webhook or a sink has
	// taken the last events.
	flushTimeout = 3 * time.Second
	// flushGrace is how long it then waits for the end of the last call.
	flushGrace = time.Second
)

// finished waits for done for the given time.
func finished(done <-chan struct{}, timeout time.Duration) bool {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// webhookBackend bounds the stop of upstream's webhook backend, which may retry for
// minutes.
type webhookBackend struct {
	upstream.Backend
	network    *network
	logger     *zap.Logger
	kubeconfig string
}

func (w *webhookBackend) Shutdown() {
	defer w.network.close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Backend.Shutdown()
	}()
	if finished(done, flushTimeout) {
		return
	}
	w.network.close()
	if !finished(done, flushGrace) {
		w.logger.Warn("the audit webhook has not taken the last events, which are lost", zap.String("kubeconfig", w.kubeconfig))
	}
}

// defaultDialer is the dialer of client-go.
var defaultDialer = net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
