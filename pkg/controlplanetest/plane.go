// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// userAgent is the user agent of the fixture's own requests.
const userAgent = "kubembed-controlplanetest"

// plane is a running control plane of one test, or one that several tests share.
type plane struct {
	server *server
	test   string     // that owns it
	config Config     // the user's
	log    *logBuffer // nil if the log is the user's
	read   files      // of config
	// auditPath is the path of the audit log, or empty.
	auditPath string
	temporary temporary
	client    func() (kubernetes.Interface, error) // of the fixture
	stopped   func() error
	// examined is set once a failure was dumped and logged.
	examined atomic.Bool

	webhooks    planeWebhooks
	conversions conversions
	baseline    *checkpoint // the state that Reset restores
}

// start returns a plane also with an error: its log may explain the failure.
func start(test string, cfg Config) (*plane, error) {
	p := &plane{test: test, config: cfg}
	p.stopped = sync.OnceValue(p.end)
	p.client = sync.OnceValues(func() (kubernetes.Interface, error) { return kubernetes.NewForConfig(p.admin()) })
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	began, err := p.register(cancel)
	if err == nil {
		err = func() error {
			defer began() // also if it panics
			return p.run(ctx)
		}()
	}
	if err != nil {
		return p, errors.Join(fmt.Errorf("controlplanetest: %w", err), p.stop())
	}
	return p, nil
}

func (p *plane) run(ctx context.Context) error {
	if err := p.readFiles(); err != nil {
		return err
	}
	if err := p.open(ctx); err != nil {
		return err
	}
	if err := p.prepare(ctx); err != nil {
		return err
	}
	return p.takeBaseline(ctx)
}

// prepare installs the CRDs and webhooks of Config. The method end undoes it.
func (p *plane) prepare(ctx context.Context) error {
	if err := p.installConfiguredCRDs(ctx); err != nil {
		return err
	}
	return p.installConfiguredWebhooks(ctx)
}

// admin returns a client configuration for the fixture itself. It works as long as the
// control plane runs.
func (p *plane) admin() *rest.Config {
	config := p.server.ClientConfig()
	config.UserAgent = userAgent
	config.WarningHandler = rest.NoWarnings{} // deprecated resources are dumped, too
	return config
}

// stop stops the control plane once. It returns errors of the stop, not the reason why
// the control plane stopped by itself.
func (p *plane) stop() error { return p.stopped() }

func (p *plane) end() error {
	p.unregister()
	var errs []error
	if p.server != nil {
		if err := p.server.Close(); err != nil {
			errs = append(errs, fmt.Errorf("controlplanetest: %w", err))
		}
	}
	if err := p.closeConfiguredWebhooks(); err != nil {
		errs = append(errs, fmt.Errorf("controlplanetest: webhooks: %w", err))
	}
	if err := p.temporary.remove(); err != nil {
		errs = append(errs, fmt.Errorf("controlplanetest: %w", err))
	}
	return errors.Join(errs...)
}

// marks are positions in the logs.
type marks struct {
	log   int
	audit int64
}

func (p *plane) marks() marks {
	return marks{log: p.log.next(), audit: p.auditSize()}
}

// fileName turns the name of a test into one for a directory or file.
func fileName(test string) string {
	name := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return '_'
	}, test)
	name = strings.TrimLeft(name, ".")
	if len(name) > 120 {
		name = name[:120]
	}
	if name == "" {
		return "test"
	}
	return name
}
