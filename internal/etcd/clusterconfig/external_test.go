// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package clusterconfig_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kubembed/kubembed/internal/etcd/clusterconfig"
	"github.com/kubembed/kubembed/pkg/pki"
)

func TestExternalValidate(t *testing.T) {
	dir := t.TempDir()
	p, err := pki.Open(pki.Config{Dir: dir, EtcdMember: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	ca, cert, key := p.EtcdFiles()
	junk := filepath.Join(dir, "junk")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	https, plain := []string{"https://10.0.0.1:2379"}, []string{"http://10.0.0.1:2379"}
	for name, test := range map[string]struct {
		external clusterconfig.External
		want     string
	}{
		"no endpoint":      {clusterconfig.External{}, "Endpoints"},
		"no port":          {clusterconfig.External{Endpoints: []string{"https://10.0.0.1"}}, "Endpoints[0]"},
		"no scheme":        {clusterconfig.External{Endpoints: []string{"10.0.0.1:2379"}}, "Endpoints[0]"},
		"a path":           {clusterconfig.External{Endpoints: []string{"https://10.0.0.1:2379/v3"}}, "Endpoints[0]"},
		"mixed":            {clusterconfig.External{Endpoints: []string{https[0], "http://10.0.0.2:2379"}}, "Endpoints[1]"},
		"twice":            {clusterconfig.External{Endpoints: []string{https[0], https[0]}}, "Endpoints[1]"},
		"a CA for http":    {clusterconfig.External{Endpoints: plain, CA: ca}, "CA"},
		"no key":           {clusterconfig.External{Endpoints: https, Cert: cert}, "Key"},
		"no certificate":   {clusterconfig.External{Endpoints: https, Key: key}, "Cert"},
		"another's key":    {clusterconfig.External{Endpoints: https, Cert: ca, Key: key}, "Cert"},
		"a CA that is not": {clusterconfig.External{Endpoints: https, CA: junk}, "CA"},
		"a missing file":   {clusterconfig.External{Endpoints: https, CA: filepath.Join(dir, "none")}, "CA"},
	} {
		if errs := test.external.Validate(nil); len(errs) != 1 || errs[0].Field != test.want {
			t.Errorf("%s: got %v, want one error of %s", name, errs, test.want)
		}
	}
	for _, external := range []clusterconfig.External{
		{Endpoints: https, CA: ca, Cert: cert, Key: key},
		{Endpoints: https}, // the CAs of the system
		{Endpoints: plain},
	} {
		if errs := external.Validate(nil); len(errs) > 0 {
			t.Error(errs)
		}
	}
}
