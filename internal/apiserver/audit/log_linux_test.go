// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	genericoptions "k8s.io/apiserver/pkg/server/options"
)

// TestOnlyFilesAreRotated: upstream would rename a pipe, such as /dev/stdout.
func TestOnlyFilesAreRotated(t *testing.T) {
	dir := t.TempDir()
	pipe, file := filepath.Join(dir, "pipe"), filepath.Join(dir, "file")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		log  genericoptions.AuditLogOptions
		want string
	}{
		{genericoptions.AuditLogOptions{Path: pipe, MaxSize: 1}, "cannot be rotated"},
		{genericoptions.AuditLogOptions{Path: pipe}, ""},
		{genericoptions.AuditLogOptions{Path: dir}, dir + " is a directory: name a file in it"},
		{genericoptions.AuditLogOptions{Path: dir, MaxSize: 1}, dir + " is a directory: name a file in it"},
		{genericoptions.AuditLogOptions{Path: file, MaxSize: 1}, ""},
		{genericoptions.AuditLogOptions{Path: filepath.Join(dir, "missing"), MaxSize: 1}, ""},
		{genericoptions.AuditLogOptions{Path: Stdout, MaxSize: 1}, ""},
	} {
		err := CheckLog(test.log)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: got %v, want %q", test.log, err, test.want)
		}
	}
}
