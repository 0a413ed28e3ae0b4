// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// openFiles returns the open files of the process below a directory.
func openFiles(t *testing.T, dir string) (open []string) {
	t.Helper()
	const descriptors = "/proc/self/fd"
	for _, fd := range must(os.ReadDir(descriptors))(t) {
		if file, err := os.Readlink(filepath.Join(descriptors, fd.Name())); err == nil && strings.HasPrefix(file, dir) {
			open = append(open, file)
		}
	}
	return open
}

// TestAuditLogIsClosed: the file of the audit log is open while the server runs, and
// closed after the stop, with all of upstream's backends around it. TestMain finds the
// goroutine of the rotation if it remains.
func TestAuditLogIsClosed(t *testing.T) {
	for name, log := range map[string]apiserver.AuditLog{
		"plain":    {},
		"strict":   {Delivery: apiserver.AuditDelivery{Mode: apiserver.AuditBlockingStrict}},
		"rotation": {MaxSizeMB: 1, MaxBackups: 1, Compress: true},
		"wrapped":  {MaxSizeMB: 1, Delivery: apiserver.AuditDelivery{Mode: apiserver.AuditBatch, Truncate: true}},
	} {
		t.Run(name, func(t *testing.T) {
			logs := t.TempDir()
			log.Path = filepath.Join(logs, "audit.log")
			p, err := newPlane(t.TempDir(), func(c *apiserver.Config) { c.Audit = apiserver.Audit{Log: log, Policy: createsOfConfigMaps()} })
			if err != nil {
				t.Fatal(err)
			}
			if err := p.configMap(t, "audited"); err != nil {
				t.Error(err)
			}
			testwait.True(t, "the audit log is open", func() bool { return len(openFiles(t, logs)) == 1 })
			if err := p.close(); err != nil {
				t.Error(err)
			}
			if open := openFiles(t, logs); len(open) > 0 {
				t.Errorf("a stopped server has %q open, want nothing", open)
			}
			if content := must(os.ReadFile(log.Path))(t); !strings.Contains(string(content), "audited") {
				t.Error("the audit log has no event, want the last one")
			}
		})
	}
}
