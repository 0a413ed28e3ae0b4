// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// webhooksTimeout bounds an installation and a removal.
const webhooksTimeout = time.Minute

// installedBy is the annotation of installed objects that names the test.
const installedBy = "controlplanetest.kubembed/installed-by"

// installedWebhooks are the webhooks of one InstallWebhooks.
type installedWebhooks struct {
	plane          *plane
	owner          owner
	server         *WebhookServer
	client         registrationClient
	configurations []registration // created ones
	conversions    []*convertedCRD
}

func (p *plane) installWebhooks(ctx context.Context, owner owner, field string, w Webhooks) (*installedWebhooks, error) {
	configurations, readErr := w.read(field)
	return p.installReadWebhooks(ctx, owner, field, w, configurations, readErr)
}

func (p *plane) installReadWebhooks(ctx context.Context, owner owner, field string, w Webhooks, configurations []registration, readErr error) (_ *installedWebhooks, err error) {
	ctx, cancel := context.WithTimeout(ctx, webhooksTimeout)
	defer cancel()
	client, err := p.registrationClient()
	if err != nil {
		return nil, err
	}
	server, err := p.localServer("webhook server", owner, w.Handler, w.ReadyTimeout, nil)
	if err != nil {
		return nil, err
	}
	i := &installedWebhooks{plane: p, owner: owner, server: &WebhookServer{server}, client: client}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.remove(context.WithoutCancel(ctx), false))
		}
	}()
	for _, c := range configurations {
		confine(c.object, slices.Clone(w.Namespaces))
		redirect(c, server)
	}
	conversions, conversionErr := i.readConversions(ctx, field, w.Conversion)
	// Validate the readable files nevertheless, so that one run shows all problems.
	if err := errors.Join(readErr, client.validateAll(ctx, owner.name, configurations), conversionErr); err != nil {
		return nil, err
	}
	for _, c := range configurations {
		if err := client.create(ctx, owner.name, c); err != nil {
			return nil, err
		}
		i.configurations = append(i.configurations, c)
	}
	for _, c := range i.configurations {
		if err := p.server.WaitForInformers(ctx, c.resource, c.GetResourceVersion()); err != nil {
			return nil, fmt.Errorf("%s: %w", c.from, err)
		}
	}
	return i, i.convert(ctx, conversions)
}

// remove removes the webhooks, and closes the server when the API server no longer calls
// it. If the control plane is about to stop, remove only closes the server.
func (i *installedWebhooks) remove(ctx context.Context, stopping bool) error {
	ctx, cancel := context.WithTimeout(ctx, webhooksTimeout)
	defer cancel()
	var errs []error
	if !stopping {
		for _, c := range i.configurations {
			errs = append(errs, i.client.remove(ctx, i.plane, c))
		}
		errs = append(errs, i.unconvert(ctx))
	}
	errs = append(errs, i.server.close())
	i.owner.silence()
	return errors.Join(errs...)
}

// planeWebhooks are the webhooks of Config.
type planeWebhooks struct {
	mu        sync.Mutex
	installed *installedWebhooks
}

// installConfiguredWebhooks installs the webhooks of Config, after the CRDs.
func (p *plane) installConfiguredWebhooks(ctx context.Context) error {
	if p.config.Webhooks.empty() {
		return nil
	}
	installed, err := p.installReadWebhooks(ctx, p.configOwner(), "Webhooks", p.config.Webhooks, p.read.webhooks, nil)
	if err != nil {
		return fmt.Errorf("install webhooks: %w", err)
	}
	p.webhooks.mu.Lock()
	defer p.webhooks.mu.Unlock()
	p.webhooks.installed = installed
	return nil
}

// closeConfiguredWebhooks closes the server of Config.Webhooks, after the control plane
// has stopped.
func (p *plane) closeConfiguredWebhooks() error {
	server := p.webhooks.server()
	if server == nil {
		return nil
	}
	return server.close()
}

func (p *planeWebhooks) server() *WebhookServer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.installed == nil {
		return nil
	}
	return p.installed.server
}
