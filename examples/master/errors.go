// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// fieldFlags maps the fields of the library's configuration, and the names of its
// function Restore, to the flags that set them.
var fieldFlags = fieldpath.Names{
	"InsecureAddr":         "--insecure-bind-address",
	"BindAddress":          "--bind-address",
	"AdvertiseAddress":     "--advertise-address",
	"DataDir":              "--data-dir",
	"NewCluster":           "--new-cluster",
	"Snapshots.Interval":   "--snapshot-interval",
	"Snapshots.Keep":       "--snapshot-keep",
	"Snapshots.Dir":        "--snapshot-dir",
	"SnapshotKey":          "--snapshot-key-file",
	"Encryption":           "--encryption-key-file",
	"Encryption.Resources": "--encryption-resources",
	"Encryption.Keys":      "--encryption-key-file",
	"Hosts":                "--hosts",
	"Serving.CertFile":     "--tls-cert-file",
	"Serving.KeyFile":      "--tls-private-key-file",
	"Serving.RootCAs":      "--root-ca-file",

	"Authentication.ConfigurationFile": "--authentication-config",
	"Admission.Configuration":          "--admission-control-config-file",
	"Admission.ConfigurationFile":      "--admission-control-config-file",
	"EnableAdmissionPlugins":           "--enable-admission-plugins",
	"Audit.Log.Path":                   "--audit-log-path",
	"Audit.Log.MaxSizeMB":              "--audit-log-path",
	"Audit.Log.MaxBackups":             "--audit-log-path",
	"Audit.PolicyFile":                 "--audit-policy-file",

	"Restore":           "--restore",
	"dir":               "--data-dir",
	"RestoreConfig.Key": "--snapshot-key-file",
}

// inFlags returns an error of the library with flags in place of the fields of its
// Config.
func inFlags(err error) error { return fieldpath.Rename(err, flagOf) }

// flagOf returns the flag that sets a field, with its index if the field has one, or path
// if no flag sets it.
func flagOf(path string) string {
	flag := fieldFlags.Rename(strings.TrimPrefix(path, "Config."))
	if !strings.HasPrefix(flag, "--") {
		return path
	}
	flag, _, _ = strings.Cut(flag, ".") // a part of a value, like the Name of a key
	return flag
}
