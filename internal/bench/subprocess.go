// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// childArgument makes this program the process of one measurement.
const childArgument = "measurement"

// task is the input of a child process. The child ends at the end of its standard input.
type task struct {
	Section, Side string
	Sizes         sizes
	Paths         paths
}

// measure runs the missing measurements of each side, in turns.
func (b *bench) measure(ctx context.Context, s section, r *results) error {
	build, err := b.paths.build()
	if err != nil {
		return err
	}
	sizes := b.sizes.of(s.name)
	if n := r.keep(s.name, build, sizes); n > 0 {
		fmt.Fprintf(os.Stderr, "%s: dropped %d measurements of another build or other sizes\n", s.name, n)
	}
	for i := range b.runs {
		for _, side := range s.sides {
			if r.has(s.name, side, i) {
				continue
			}
			fmt.Fprintf(os.Stderr, "%s: %s, run %d of %d", s.name, side, i+1, b.runs)
			began := time.Now()
			metrics, err := b.runChild(ctx, task{Section: s.name, Side: side, Sizes: sizes, Paths: b.paths})
			if err != nil {
				fmt.Fprintln(os.Stderr)
				return fmt.Errorf("%s of %s: %w", s.name, side, err)
			}
			elapsed := time.Since(began)
			fmt.Fprintf(os.Stderr, ": %s\n", elapsed.Round(100*time.Millisecond))
			r.Measurements = append(r.Measurements, result{
				Section: s.name, Side: side, Run: i, Build: build, Kubernetes: r.head("k8s.io/kubernetes"), Sizes: sizes,
				Began: began.UTC().Truncate(time.Second), Took: elapsed.Seconds(), Metrics: metrics,
			})
			if err := r.save(b.out); err != nil {
				return err
			}
		}
	}
	return nil
}

// stopTimeout is how long a child may take to stop.
const stopTimeout = 2 * time.Minute

func (b *bench) runChild(ctx context.Context, t task) ([]metric, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, childArgument)
	// Temporary files that envtest and others leave are removed with ours.
	cmd.Env = append(os.Environ(), "KUBEBUILDER_ASSETS="+b.paths.Assets, "TMPDIR="+b.paths.Work)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() {
		_ = in.Close()
		time.AfterFunc(stopTimeout, func() { _ = cmd.Process.Kill() })
	})
	defer stop()
	writeErr := json.NewEncoder(in).Encode(t)
	err = errors.Join(writeErr, cmd.Wait())
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, log.Bytes())
	}
	var metrics []metric
	return metrics, json.Unmarshal(out.Bytes(), &metrics)
}

// child runs one measurement.
func child(ctx context.Context) error {
	in := json.NewDecoder(os.Stdin)
	var t task
	if err := in.Decode(&t); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	s, ok := findSection(t.Section)
	if !ok {
		return fmt.Errorf("unknown section %q", t.Section)
	}
	m := &measurement{ctx: ctx, sizes: t.Sizes}
	m.paths, m.side = t.Paths.earlier(t.Side)
	if err := s.measure(m); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(m.metrics)
}
