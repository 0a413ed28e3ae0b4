// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Command bench compares control planes of this library with its peers, in one run:
//
//	go run ./internal/bench        # at the top of the repository; -h lists the flags
//	go run ./internal/bench -quick # small, to check that everything works
//
// It writes to a directory (-out):
//
//   - results.json has every measurement.
//   - README.md has a table for each section: our figures and the peers' (median and
//     range), ratio, bar and aim. Its header has the machine, the versions and the
//     settings.
//   - Plots show the figures.
//
// Progress is on standard error. Nothing else should run on the machine. With -readme,
// the command also writes the main figures to a page, one screen, between two comments
// that the page must have. This command wrote the figures of the project's README:
//
//	go run ./internal/bench -out internal/bench/results -readme README.md
//
// All sides take turns (A B A B), at least five times. Each measurement runs in a
// separate process: this program again, which starts the control plane in another process
// (package hosts), is its client (package load), and stops it. An interrupted bench
// resumes; -only selects sections, and -redo measures them again. Measurements of
// different builds of the library are never mixed.
//
// The sides are:
//
//   - kubembed: package controlplane, with a client in another process, over TLS
//   - kubembed in-process: the same, with Server.ClientConfig in the same process
//   - with GOGC=400: both, with the setting of examples/master
//   - envtest: controller-runtime's, with kube-apiserver and etcd
//   - upstream's cluster: the same with kube-controller-manager, kube-scheduler, and a
//     simulated node of kubemark, against kubembed with its components (package cluster)
//   - envtest with kubembed's programs: the programs of pkg/controlplanetest/assets
//   - kubembed from the pool: pkg/pool/controlplanetest, whose tests link no API server.
//     The program controlplanes gives them control planes. It is not a child of the
//     tests, but its memory and CPU time are measured with theirs.
//   - testserver: kube-apiserver's own test server and an embedded etcd, in one process
//   - separate: envtest with fsync and a directory, against DataDir
//   - kubembed's nodes: the control plane with scheduler, controllers and simulated nodes
//   - kwok: kwok's nodes on etcd, kube-apiserver, kube-controller-manager and
//     kube-scheduler
//
// With -against, the sides are this library's, here and in another checkout, which may
// have another Kubernetes:
//
//	git worktree add ../before v0.37.0
//	go run ./internal/bench -against ../before -out /tmp/results \
//		-only start,requests,list,growth,edit
//
// kwok and other light peers are sides of the section scale only: for all other
// measurements kwok runs the same kube-apiserver and etcd. At other sizes:
//
//	go run ./internal/bench -only scale -runs 1 -scale-nodes 300 -scale-pods 3000
//
// Section effects measures what a test waits for after its requests (package effects).
// -effects selects some of them, and -trials sets their number:
//
//	go run ./internal/bench -only effects -effects 'namespace|Policy' -trials 5 -out /tmp/results
//
// The bench builds kube-apiserver, etcd and the rest of upstream's cluster from the
// modules of this library, at the same versions, and keeps them in a directory of the
// user's cache. Reading memory and CPU of processes needs Linux.
//
// # Modules
//
// This module is separate from the library because of controller-runtime and the plots.
// Update its go.mod like that of internal/e2e, with pkg/pool beside the library.
//
// The module in the directory peers has upstream's programs as tools, and the testserver,
// but none of our packages. It is not in the workspace, because the etcd
// program needs old modules that no other build should see. Its versions of Kubernetes
// and etcd follow the library's. Run go mod tidy in it with GOWORK=off. The module in the
// directory kwok has only kwok, whose dependencies are older.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 2 && os.Args[1] == childArgument {
		if err := child(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	b := bench{sizes: fullSizes()}
	var only, skip string
	var quick bool
	flag.IntVar(&b.runs, "runs", 5, "runs of each side")
	flag.StringVar(&only, "only", "", "comma-separated sections to measure: "+strings.Join(sectionNames(), ", ")+" (if empty, all but cold and scale)")
	flag.StringVar(&skip, "skip", "", "sections to skip")
	flag.StringVar(&b.out, "out", "bench-results", "directory of the results")
	flag.StringVar(&b.readme, "readme", "", "page in which to replace the summary (if empty, none)")
	flag.StringVar(&b.cache, "cache", "", "directory of the built kube-apiserver and etcd (default is one in the user's cache)")
	flag.StringVar(&b.against, "against", "", "top directory of another checkout of this repository, to compare with instead of the peers")
	flag.BoolVar(&b.redo, "redo", false, "drop the stored measurements of the sections, and measure them again")
	flag.BoolVar(&b.report, "report", false, "measure nothing, and write the report of the stored measurements")
	flag.BoolVar(&quick, "quick", false, "small sizes, and one run unless -runs says otherwise")
	b.sizes.flags()
	flag.Parse()
	if quick {
		b.quick()
	}
	if err := b.run(ctx, only, skip); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// quick uses the small sizes, except for flags that are set.
func (b *bench) quick() {
	said := map[string]string{}
	flag.Visit(func(f *flag.Flag) { said[f.Name] = f.Value.String() })
	b.sizes = quickSizes()
	if said["runs"] == "" {
		b.runs = 1
	}
	for name, value := range said {
		_ = flag.Set(name, value) // It was valid before.
	}
}

type bench struct {
	runs         int
	out, cache   string
	readme       string
	against      string
	redo, report bool
	sizes        sizes
	paths        paths
}

// paths are the paths of the built programs, for the child processes too.
type paths struct {
	Module  string // directory of this module
	Against string // the same in the other checkout, if any
	Work    string // temporary directory
	Suffix  string // of the names of programs
	Assets  string // directory of kube-apiserver and etcd
	CRDs    string // directory of CRDs
}

func (b *bench) run(ctx context.Context, only, skip string) error {
	sections, err := chooseSections(only, skip)
	if err != nil {
		return err
	}
	if b.runs < 1 {
		return errors.New("-runs must be positive")
	}
	if b.against != "" && b.readme != "" {
		return errors.New("-readme: the summary compares with the peers, which -against leaves out")
	}
	r, err := loadResults(b.out)
	if err != nil {
		return err
	}
	if !b.report && len(r.Measurements) > 0 && r.againstEarlier() != (b.against != "") {
		return fmt.Errorf("-out: %s has results of a run with other sides: name another directory", b.out)
	}
	if b.report {
		return b.write(r)
	}
	if b.paths.Module, err = output(exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/kubembed/kubembed/internal/bench")); err != nil {
		return err
	}
	if b.against != "" {
		if b.paths.Against, err = findAgainst(b.against); err != nil {
			return err
		}
		sections = againstAll(sections)
	}
	if b.paths.Work, err = os.MkdirTemp("", "kubembed-bench-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.paths.Work) }()
	if err := b.build(sections); err != nil {
		return err
	}
	if r.Header, err = b.header(ctx); err != nil {
		return err
	}
	for _, s := range sections {
		if b.redo {
			r.drop(s.name)
		}
		if err := b.measure(ctx, s, r); err != nil {
			return errors.Join(err, r.report(b.out))
		}
	}
	return b.write(r)
}

// write writes the report and, with -readme, the summary.
func (b *bench) write(r *results) error {
	if b.readme != "" && r.againstEarlier() {
		return errors.New("-readme: these are results of -against, and the summary compares with the peers")
	}
	if err := r.report(b.out); err != nil || b.readme == "" {
		return err
	}
	return r.summarize(b.readme, b.out)
}

// runLoudly runs a command with its output on standard error.
func runLoudly(cmd *exec.Cmd) error {
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", cmd, err)
	}
	return nil
}

// output returns a command's standard output.
func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return "", fmt.Errorf("%s: %w: %s", cmd, err, exit.Stderr)
		}
		return "", fmt.Errorf("%s: %w", cmd, err)
	}
	return strings.TrimSpace(string(out)), nil
}
