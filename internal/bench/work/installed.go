// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package work

import (
	"encoding/json"
	"os"
	"time"

	"github.com/kubembed/kubembed/internal/bench/process"
)

// Installed is the cost of installing many CRDs, as the test binaries report it.
type Installed struct {
	CRDs    int           // number
	Took    time.Duration // until all were served
	Before  int64         // resident bytes of all processes before
	After   int64         // the same, a while after
	Started time.Duration // time of the start, until ready
}

// settle is the pause before memory is measured, before and after.
const settle = 5 * time.Second

// MeasureInstall writes the cost of install to file.
func MeasureInstall(file string, started time.Duration, install func() (crds int)) error {
	result := Installed{Started: started}
	time.Sleep(settle)
	var err error
	if result.Before, err = process.Resident(os.Getpid()); err != nil {
		return err
	}
	began := time.Now()
	result.CRDs = install()
	result.Took = time.Since(began)
	time.Sleep(settle)
	if result.After, err = process.Resident(os.Getpid()); err != nil {
		return err
	}
	data, err := json.Marshal(result)
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o600)
}
