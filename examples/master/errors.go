// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"regexp"
	"strings"
)

// flagOf maps the fields of the library's configuration to flags. A longer name comes
// before its prefixes.
var flagOf = []struct{ field, flag string }{
	{"InsecureAddr", "--insecure-bind-address"},
	{"BindAddress", "--bind-address"},
	{"AdvertiseAddress", "--advertise-address"},
	{"DataDir", "--data-dir"},
	{"NewCluster", "--new-cluster"},
	{"Snapshots.Interval", "--snapshot-interval"},
	{"Snapshots.Keep", "--snapshot-keep"},
	{"Snapshots.Dir", "--snapshot-dir"},
	{"SnapshotKey", "--snapshot-key-file"},
	{"RestoreConfig.Key", "--snapshot-key-file"},
	{"Encryption.Resources", "--encryption-resources"},
	{"Encryption.Keys", "--encryption-key-file"},
	{"Encryption", "--encryption-key-file"},
	{"Hosts", "--hosts"},
	{"Serving.CertFile", "--tls-cert-file"},
	{"Serving.KeyFile", "--tls-private-key-file"},
}

// fieldNames matches the fields in a text, with the type before and an index after them.
var fieldNames = func() *regexp.Regexp {
	names := make([]string, len(flagOf))
	for i, f := range flagOf {
		names[i] = regexp.QuoteMeta(f.field)
	}
	return regexp.MustCompile(`\b(?:controlplane\.)?(Config\.)?(` + strings.Join(names, "|") + `)\b(\[\d+\])?(?:\.(?:Secretbox|AESGCM|Name)\b)?(:)?`)
}()

// inFlags returns an error of the library with flags in place of the fields of its
// Config. The sentences of errors and log lines mention fields too, so this replaces
// names in the text. It finds them as words: another wording around them makes no
// difference.
func inFlags(err error) error {
	return flagError{err, flagsFor(err.Error())}
}

func flagsFor(text string) string {
	text = strings.NewReplacer("etcd: Config.Dir: ", "", "(Restore)", "(--restore)", "a new JoinKubeconfig", "the new "+joinFile).Replace(text)
	return fieldNames.ReplaceAllStringFunc(text, func(found string) string {
		part := fieldNames.FindStringSubmatch(found)
		prefix, field, index, colon := part[1], part[2], part[3], part[4]
		word := !strings.ContainsAny(field[1:], "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
		if word && prefix+index+colon == "" {
			return found // a word of the sentence, like Hosts
		}
		for _, f := range flagOf {
			if f.field == field {
				return f.flag + index + colon
			}
		}
		return found
	})
}

type flagError struct {
	err  error
	text string
}

func (e flagError) Error() string { return e.text }
func (e flagError) Unwrap() error { return e.err }
