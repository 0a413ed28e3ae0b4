// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/kubembed/kubembed/internal/files"
)

// results are the contents of results.json.
type results struct {
	Header       header
	Measurements []result
}

// result is one measurement.
type result struct {
	Section, Side string
	Run           int
	Build         string // of our host, so that builds are not mixed
	Kubernetes    string // its version
	Sizes         sizes
	Began         time.Time
	Took          float64 // seconds, with the start and stop of the control plane
	Metrics       []metric
}

func loadResults(directory string) (*results, error) {
	r := &results{}
	data, err := os.ReadFile(filepath.Join(directory, "results.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s: %w", directory, err)
	}
	return r, nil
}

// save replaces the whole file. An interruption leaves the previous one.
func (r *results) save(directory string) error {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return files.WriteAtomic(filepath.Join(directory, "results.json"), append(data, '\n'), 0o644)
}

func (r *results) drop(section string) {
	r.Measurements = slices.DeleteFunc(r.Measurements, func(m result) bool { return m.Section == section })
}

// keep drops a section's measurements of another build or other sizes, and returns their
// number.
func (r *results) keep(section, build string, s sizes) int {
	before := len(r.Measurements)
	r.Measurements = slices.DeleteFunc(r.Measurements, func(m result) bool {
		return m.Section == section && (m.Build != build || !reflect.DeepEqual(m.Sizes, s))
	})
	return before - len(r.Measurements)
}

func (r *results) has(section, side string, run int) bool {
	return slices.ContainsFunc(r.Measurements, func(m result) bool {
		return m.Section == section && m.Side == side && m.Run == run
	})
}

// figure is a metric of all runs on all sides.
type figure struct {
	name, unit string
	sides      map[string][]float64
}

// figures returns the figures of a section, in the order of the measurements.
func (r *results) figures(section string) (figures []figure) {
	index := map[string]int{}
	for _, m := range r.Measurements {
		if m.Section != section {
			continue
		}
		for _, metric := range m.Metrics {
			i, ok := index[metric.Name]
			if !ok {
				i = len(figures)
				index[metric.Name] = i
				figures = append(figures, figure{metric.Name, metric.Unit, map[string][]float64{}})
			}
			figures[i].sides[m.Side] = append(figures[i].sides[m.Side], metric.Value)
		}
	}
	return figures
}

// took returns the total time of a section's measurements.
func (r *results) took(section string) time.Duration {
	var sum float64
	for _, m := range r.Measurements {
		if m.Section == section {
			sum += m.Took
		}
	}
	return time.Duration(sum * float64(time.Second)).Round(time.Second)
}
