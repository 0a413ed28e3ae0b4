package main

import (
	"regexp"
	"strings"
)

// flagOf maps the fields of the library's configuration to flags. A longer name stands
// before one that it begins with.
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
}

// fieldNames finds them in a text: with the type before and what follows an index.
var fieldNames = func() *regexp.Regexp {
	names := make([]string, len(flagOf))
	for i, f := range flagOf {
		names[i] = regexp.QuoteMeta(f.field)
	}
	return regexp.MustCompile(`\b(?:controlplane\.)?(Config\.)?(` + strings.Join(names, "|") + `)\b(\[\d+\])?(?:\.(?:Secretbox|AESGCM|Name)\b)?(:)?`)
}()

// inFlags makes an error of the library, which names the fields of its Config,
// name the flags.
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
