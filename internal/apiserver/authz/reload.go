// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authz

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/server/options/authorizationconfig/metrics"
	"k8s.io/apiserver/pkg/util/filesystem"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/ownership"
)

var (
	authorizationField = field.NewPath("Config", "Authorization")
	authorizersField   = authorizationField.Child("Authorizers")
)

// pollInterval is upstream's, for file systems without notifications.
const pollInterval = time.Minute

// Run follows the files of the configuration until ctx ends.
func (c *Chain) Run(ctx context.Context) {
	metrics.RegisterMetrics()
	c.mu.Lock()
	metrics.RecordAuthorizationConfigLastConfigInfo(c.config.ServerID, string(c.data))
	c.mu.Unlock()
	var files sync.WaitGroup
	follow := func(path string, reload func(context.Context)) {
		if path == "" {
			return
		}
		files.Go(func() {
			filesystem.WatchUntil(ctx, pollInterval, path, func() { reload(ctx) }, func(err error) {
				c.config.Logger.Warn("changes of a file for authorization are noticed once a minute only", zap.String("file", path), zap.Error(err))
			})
		})
	}
	follow(c.config.File, c.reloadFile)
	follow(c.config.PolicyFile, c.reloadPolicy)
	files.Wait()
}

// reloadFile applies the configuration file if it has changed. A file whose content is
// not valid is refused once. After other refusals the file is tried again: its mode, a
// kubeconfig or the answer of a webhook may change.
func (c *Chain) reloadFile(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	data, err := reread(c.config.File)
	switch {
	case err != nil:
		c.reloaded(c.config.File, err)
		return
	case bytes.Equal(data, c.read):
		return
	}
	l, bad, errs := fromFile(authorizationField.Child("ConfigurationFile"), c.config.File, c.required)
	if bad != nil {
		c.read = bad
	}
	if err = firstError(errs); err == nil {
		err = c.apply(ctx, l)
	}
	if err == nil {
		c.data, c.read = l.data, l.data
	}
	c.reloaded(c.config.File, err)
}

// reread reads a file again. It may have been replaced by a pipe, which nobody may write.
func reread(path string) ([]byte, error) {
	if err := ownership.Regular(path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// reloadPolicy applies the policy of ABAC if it has changed, as reloadFile does.
func (c *Chain) reloadPolicy(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	data, err := reread(c.config.PolicyFile)
	switch {
	case err != nil:
		c.reloaded(c.config.PolicyFile, err)
		return
	case bytes.Equal(data, c.policy):
		return
	}
	data, err = readPolicy(c.config.PolicyFile)
	switch {
	case err == nil:
		if err = c.applyPolicy(ctx); err == nil {
			c.policy = data
		}
	case data != nil:
		c.policy = data
	}
	c.reloaded(c.config.PolicyFile, err)
}

// reloaded reports the result of a reload of a file.
func (c *Chain) reloaded(file string, err error) { c.report(err, zap.String("file", file)) }

// report reports in the log and in upstream's metric whether the configuration was
// replaced.
func (c *Chain) report(err error, fields ...zap.Field) {
	if err != nil {
		metrics.RecordAuthorizationConfigAutomaticReloadFailure(c.config.ServerID)
		c.config.Logger.Error("the authorization configuration was not replaced: the earlier one stays in effect", append(fields, zap.Error(err))...)
		return
	}
	metrics.RecordAuthorizationConfigAutomaticReloadSuccess(c.config.ServerID, string(c.data))
	c.config.Logger.Info("the authorization configuration was replaced", append(fields, zap.Strings("authorizers", c.current.Load().names()))...)
}

// names returns the names of the authorizers in their order.
func (l *links) names() (names []string) {
	for _, one := range l.chain {
		names = append(names, one.name)
	}
	return names
}

// Set replaces the configuration. After an error the one before is in force. ctx bounds
// the questions to the new authorizers.
func (c *Chain) Set(ctx context.Context, configuration *apiserverv1.AuthorizationConfiguration) error {
	if c.config.File != "" {
		return fieldpath.New("apiserver", "Config.Authorization.ConfigurationFile", "it is set: change the file %s", c.config.File)
	}
	metrics.RegisterMetrics()
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.set(ctx, configuration)
	if err == nil {
		c.data, _ = json.Marshal(configuration) // for the hash in the metric
	}
	c.report(err)
	return err
}

func (c *Chain) set(ctx context.Context, configuration *apiserverv1.AuthorizationConfiguration) error {
	if configuration == nil {
		return fieldpath.New("apiserver", "AuthorizationConfiguration", "must not be nil")
	}
	l, errs := fromGo(field.NewPath("AuthorizationConfiguration"), configuration, c.required)
	if err := firstError(errs); err != nil {
		return err
	}
	return c.apply(ctx, l)
}

// apply makes a configuration the current one.
func (c *Chain) apply(ctx context.Context, l *loaded) error {
	next, err := c.build(l, c.current.Load())
	if err != nil {
		return err
	}
	return c.replace(ctx, next)
}

// applyPolicy reads the policy of ABAC again.
func (c *Chain) applyPolicy(ctx context.Context) error {
	old := c.current.Load()
	next := &links{loaded: old.loaded, chain: slices.Clone(old.chain)}
	for i, one := range next.chain {
		if one.configured.Type != typeABAC {
			continue
		}
		abac, err := c.upstream(one.configured)
		if err != nil {
			return err
		}
		next.chain[i] = abac
	}
	if err := next.join(); err != nil {
		return err
	}
	return c.replace(ctx, next)
}

// replace makes next the current links, unless it denies an identity of the control
// plane. Before Check it cannot know.
func (c *Chain) replace(ctx context.Context, next *links) error {
	if c.live.Load() {
		if err := next.check(ctx, c.config.Identities, c.config.Logger); err != nil {
			return err
		}
	}
	c.current.Store(next)
	return nil
}
