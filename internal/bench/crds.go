// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/kubembed/kubembed/internal/bench/work"
)

// crdSources are modules with CRD files, and the paths of the files. They are downloaded
// but not required: the bench uses none of their code.
var crdSources = []struct{ module, files string }{
	{"sigs.k8s.io/gateway-api@v1.6.3", "config/crd/standard/*.yaml"},
	{"github.com/cert-manager/cert-manager@v1.21.2", "deploy/crds/*.yaml"},
	{"sigs.k8s.io/cluster-api@v1.13.6", "config/crd/bases/*.yaml"},
	{"sigs.k8s.io/cluster-api@v1.13.6", "bootstrap/kubeadm/config/crd/bases/*.yaml"},
	{"sigs.k8s.io/cluster-api@v1.13.6", "controlplane/kubeadm/config/crd/bases/*.yaml"},
	{"github.com/external-secrets/external-secrets@v1.3.2", "config/crds/bases/*.yaml"},
	{"github.com/prometheus-operator/prometheus-operator@v0.85.0", "example/prometheus-operator-crd/*.yaml"},
	{"github.com/fluxcd/source-controller@v1.8.0", "config/crd/bases/*.yaml"},
	{"istio.io/api@v1.31.1", "kubernetes/customresourcedefinitions.gen.yaml"},
	{"github.com/cilium/cilium@v1.18.0", "pkg/k8s/apis/cilium.io/client/crds/*/*.yaml"},
}

var crdsSection = section{
	name: "crds", title: "CRDs of known projects",
	about: "The time from installing CRD files in a test until all CRDs are served. If there are not enough CRDs, they are installed again under other groups. " +
		"Memory is the resident memory of the processes of the test, the test binary included, five seconds after the start and five seconds after the CRDs are served.",
	sides:  []string{own, envtest},
	ratios: [][2]string{{own, envtest}},
	measure: func(m *measurement) error {
		for _, crds := range m.sizes.CRDs {
			installed, err := m.install(crds)
			if err != nil {
				return err
			}
			name := fmt.Sprintf("%d CRDs: ", crds)
			each := float64(crds)
			m.add(name+"time for each", "ms", float64(installed.Took.Microseconds())/1000/each)
			m.add(name+"memory of each", "KiB", float64(installed.After-installed.Before)/kibibyte/each)
			m.addBytes(name+"memory before, resident", installed.Before)
			m.addBytes(name+"memory after, resident", installed.After)
			m.addTime(name+"ready for the first test", installed.Started)
		}
		return nil
	},
}

func (m *measurement) install(crds int) (installed work.Installed, err error) {
	if err := m.testInto(&installed, "TestInstall", "-crds="+m.paths.crds(crds)); err != nil {
		return installed, err
	}
	if installed.CRDs != crds {
		return installed, fmt.Errorf("%d CRDs are installed, not %d", installed.CRDs, crds)
	}
	return installed, nil
}

func (p paths) crds(n int) string { return filepath.Join(p.CRDs, strconv.Itoa(n)) }

// fetchCRDs writes a directory for each number of CRDs, with one file per CRD.
func (b *bench) fetchCRDs() error {
	b.paths.CRDs = filepath.Join(b.paths.Work, "crds")
	var all [][]byte
	for _, source := range crdSources {
		dir, err := download(source.module)
		if err != nil {
			return err
		}
		files, err := filepath.Glob(filepath.Join(dir, source.files))
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("%s has no %s", source.module, source.files)
		}
		for _, file := range files {
			crds, err := readCRDs(file)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			all = append(all, crds...)
		}
	}
	for _, n := range b.sizes.CRDs {
		if err := writeCRDs(b.paths.crds(n), all, n); err != nil {
			return err
		}
	}
	return nil
}

func writeCRDs(directory string, all [][]byte, n int) error {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	for i := range n {
		crd := all[i%len(all)]
		if again := i / len(all); again > 0 {
			var err error
			if crd, err = regroup(crd, fmt.Sprintf("again%d.", again)); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(directory, fmt.Sprintf("%04d.yaml", i)), crd, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// regroup returns a copy of a CRD with a prefix before its group.
func regroup(crd []byte, before string) ([]byte, error) {
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(crd, &object.Object); err != nil {
		return nil, err
	}
	group, _, err := unstructured.NestedString(object.Object, "spec", "group")
	if err != nil {
		return nil, err
	}
	plural, _, err := unstructured.NestedString(object.Object, "spec", "names", "plural")
	if err != nil {
		return nil, err
	}
	object.SetName(plural + "." + before + group)
	if err := unstructured.SetNestedField(object.Object, before+group, "spec", "group"); err != nil {
		return nil, err
	}
	return yaml.Marshal(object.Object)
}

// readCRDs returns the CRDs of a file.
func readCRDs(file string) ([][]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var crds [][]byte
	for document := range bytes.SplitSeq(data, []byte("\n---")) {
		var object struct{ Kind string }
		if err := yaml.Unmarshal(document, &object); err != nil {
			return nil, err
		}
		if object.Kind == "CustomResourceDefinition" {
			crds = append(crds, document)
		}
	}
	return crds, nil
}

func download(module string) (dir string, err error) {
	fmt.Fprintln(os.Stderr, "fetching", module)
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Dir = os.TempDir() // Outside of all modules.
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	var downloaded struct{ Dir, Error string }
	if len(out) > 0 {
		if err := json.Unmarshal(out, &downloaded); err != nil {
			return "", err
		}
	}
	if err != nil || downloaded.Error != "" {
		return "", errors.Join(fmt.Errorf("%s: %s", cmd, downloaded.Error), err)
	}
	return downloaded.Dir, nil
}
