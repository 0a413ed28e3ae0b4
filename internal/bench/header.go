// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// header describes the conditions of the figures, as rows of a table.
type header [][2]string

// settings are the same on all sides, or name their differences.
var settings = header{
	{"client", "client-go, one clientset, protobuf, no rate limit, member of system:masters (exempt from priority and fairness) on all sides"},
	{"authorization", "Node, RBAC on all sides (envtest has only RBAC by default; the bench adds Node)"},
	{"admission", "kube-apiserver's defaults and NodeRestriction, without ServiceAccount and TaintNodesByCondition, on all sides; with them for the time to effect"},
	{"persistence", "one etcd member without fsync on all sides, ours in the process, envtest's over TCP, the testserver's over a Unix socket; with fsync in the sections that say so"},
	{"controllers", "kubembed runs its core controllers; the peers have none, except for the time to effect"},
	{"limits", "defaults of kube-apiserver on all sides: watch caches, in-flight requests, priority and fairness; no audit, no encryption; no GOMEMLIMIT, and no GOGC but for the sides that have it in their name"},
	{"cores", "the client has no separate cores: it competes with the server on all sides; each rate has the server CPU per request next to it"},
}

func (b *bench) header(ctx context.Context) (header, error) {
	cpu, err := fieldOf("/proc/cpuinfo", "model name")
	if err != nil {
		return nil, err
	}
	memory, err := fieldOf("/proc/meminfo", "MemTotal")
	if err != nil {
		return nil, err
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return nil, err
	}
	h := header{
		{"date", time.Now().UTC().Format(time.DateOnly)},
		{"cores", fmt.Sprintf("%d, %s", runtime.NumCPU(), cpu)},
		{"memory", memory},
		{"kernel", strings.TrimSpace(string(kernel)) + ", " + runtime.GOARCH},
		{"disk", diskOf(ctx, b.paths.Work)},
		{"Go", runtime.Version()},
	}
	for _, module := range []string{"k8s.io/kubernetes", "go.etcd.io/etcd/server/v3", "sigs.k8s.io/controller-runtime"} {
		version, err := output(b.goCommand(".", "list", "-m", "-f", "{{.Version}}", module))
		if err != nil {
			return nil, err
		}
		h = append(h, [2]string{module, version})
	}
	build, err := b.paths.build()
	if err != nil {
		return nil, err
	}
	if b.paths.Against != "" {
		h = append(h, [2]string{"before", commit(ctx, b.paths.Against)})
	}
	h = append(h, [2]string{"kubembed", commit(ctx, b.paths.Module) + ", build " + build})
	return h, nil
}

// commit returns the commit of the source, if it is in a repository.
func commit(ctx context.Context, module string) string {
	git := func(args ...string) string {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = module
		out, err := cmd.Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	commit := git("rev-parse", "--short", "HEAD")
	switch {
	case commit == "":
		return "unknown commit"
	// Files that this command writes do not count as changes.
	case git("status", "--porcelain", "--untracked-files=no", "--", ":(top)", ":(top,exclude)internal/bench/results", ":(top,exclude)README.md") != "":
		return "commit " + commit + " with changes"
	}
	return "commit " + commit
}

// fieldOf finds the first line "name : value" of a file in /proc.
func fieldOf(file, name string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	value, err := parseField(f, name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	return value, nil
}

func parseField(r io.Reader, name string) (string, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value), nil
		}
	}
	return "unknown", lines.Err()
}

// diskOf returns the file system of a directory, and the kind of its disk.
func diskOf(ctx context.Context, directory string) string {
	out, err := exec.CommandContext(ctx, "df", "--output=source,fstype", directory).Output()
	if err != nil {
		return "unknown"
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	fields := strings.Fields(lines[len(lines)-1])
	if len(fields) != 2 {
		return "unknown"
	}
	disk := fields[1] + " on " + filepath.Base(fields[0])
	rotational, err := os.ReadFile(filepath.Join("/sys/class/block", filepath.Base(fields[0]), "queue/rotational"))
	if err == nil {
		disk += map[string]string{"0": ", not rotational", "1": ", rotational as the kernel says"}[strings.TrimSpace(string(rotational))]
	}
	return disk
}
