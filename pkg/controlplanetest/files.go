// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"errors"
	"fmt"
)

// files are the CRDs and webhooks in the files that Config names.
type files struct {
	crds     []customResource
	webhooks []registration
}

// readFiles reads the files of Config before the control plane starts, so that one error
// has all problems of the files and of the configuration.
func (p *plane) readFiles() (err error) {
	var errs []error
	if !p.config.CRDs.empty() {
		if p.read.crds, err = p.config.CRDs.read(); err != nil {
			errs = append(errs, fmt.Errorf("install CRDs: %w", err))
		}
	}
	if !p.config.Webhooks.empty() {
		if p.read.webhooks, err = p.config.Webhooks.read("Webhooks"); err != nil {
			errs = append(errs, fmt.Errorf("install webhooks: %w", err))
		}
	}
	if len(errs) == 0 {
		return nil // Start validates the rest
	}
	return errors.Join(append(errs, p.config.validate())...)
}
