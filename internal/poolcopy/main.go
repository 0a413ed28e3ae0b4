// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Command poolcopy copies the files that package pkg/pool/controlplanetest has in common
// with this module, from the root of the repository:
//
//	go run ./internal/poolcopy
//
// pkg/pool is a module of its own, because tests that use it must not depend on this
// module's version of Kubernetes. Two modules of one repository cannot share a package: a
// commit that changes it could not be fetched before the one module is published and the
// other requires that version. OpenTelemetry's modules copy internal/shared for the same
// reason. The test of this package compares the copies with their originals.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(root string) error {
	for _, c := range copies {
		if err := c.write(root); err != nil {
			return err
		}
	}
	return nil
}
