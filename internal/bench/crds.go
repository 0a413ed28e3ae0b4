package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/kubembed/kubembed/internal/bench/work"
)

// crdCount is how many are installed, the first of what crdSources have.
const crdCount = 100

// crdSources are modules that have their CRDs in them, and where. They are fetched,
// not required: nothing of their code is used.
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

// crds measures what 100 CRDs take.
func (b *bench) crds() ([]row, error) {
	folder := filepath.Join(b.work, "crds")
	size, err := fetchCRDs(folder)
	if err != nil {
		return nil, err
	}
	var ours, theirs []work.Installed
	for i := range b.runs {
		fmt.Fprintf(os.Stderr, "%d CRDs (%d KiB of YAML): run %d of %d\n", crdCount, size/1024, i+1, b.runs)
		for _, side := range []struct {
			name string
			to   *[]work.Installed
		}{{"own", &ours}, {"envtest", &theirs}} {
			installed, err := b.install(side.name, folder)
			if err != nil {
				return nil, err
			}
			*side.to = append(*side.to, installed)
			fmt.Fprintf(os.Stderr, "  %s: %s, %d MiB before, %d after\n", side.name, installed.Took.Round(time.Millisecond), installed.Before/mebibyte, installed.After/mebibyte)
		}
	}
	column := func(runs []work.Installed, value func(work.Installed) float64) (column []float64) {
		for _, r := range runs {
			column = append(column, value(r))
		}
		return column
	}
	measures := []struct {
		name, unit string
		value      func(work.Installed) float64
	}{
		{"start, ready for the first test", "ms", func(i work.Installed) float64 { return float64(i.Started.Microseconds()) / 1000 }},
		{"100 CRDs installed and served: time per CRD", "ms", func(i work.Installed) float64 { return float64(i.Took.Microseconds()) / 1000 / crdCount }},
		{"the same: memory per CRD", "KiB", func(i work.Installed) float64 { return float64(i.After-i.Before) / 1024 / crdCount }},
		{"resident memory before", "MiB", func(i work.Installed) float64 { return float64(i.Before) / mebibyte }},
		{"resident memory with 100 CRDs", "MiB", func(i work.Installed) float64 { return float64(i.After) / mebibyte }},
	}
	var rows []row
	for _, m := range measures {
		rows = append(rows, row{m.name, m.unit, column(ours, m.value), column(theirs, m.value)})
	}
	return rows, nil
}

func (b *bench) install(side, folder string) (installed work.Installed, err error) {
	result := filepath.Join(b.work, "installed.json")
	if _, err := b.start(side, "-test.run=^TestInstall$", "-crds="+folder, "-result="+result); err != nil {
		return installed, err
	}
	data, err := os.ReadFile(result)
	if err != nil {
		return installed, err
	}
	if err := json.Unmarshal(data, &installed); err != nil {
		return installed, err
	}
	if installed.CRDs != crdCount {
		return installed, fmt.Errorf("%s has installed %d CRDs, not %d", side, installed.CRDs, crdCount)
	}
	return installed, os.Remove(result)
}

// fetchCRDs writes a file for each CRD, and returns the size of all.
func fetchCRDs(folder string) (size int, err error) {
	if err := os.Mkdir(folder, 0o700); err != nil {
		return 0, err
	}
	written := 0
	for _, source := range crdSources {
		dir, err := download(source.module)
		if err != nil {
			return 0, err
		}
		files, err := filepath.Glob(filepath.Join(dir, source.files))
		if err != nil {
			return 0, err
		}
		if len(files) == 0 {
			return 0, fmt.Errorf("%s has no %s", source.module, source.files)
		}
		for _, file := range files {
			crds, err := readCRDs(file)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", file, err)
			}
			for _, crd := range crds {
				if written == crdCount {
					return size, nil
				}
				size += len(crd)
				written++
				if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%03d.yaml", written)), crd, 0o600); err != nil {
					return 0, err
				}
			}
		}
	}
	return 0, fmt.Errorf("the modules have %d CRDs, not %d", written, crdCount)
}

// readCRDs returns the documents of file that are CRDs.
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
	var told struct{ Dir, Error string }
	if len(out) > 0 {
		if err := json.Unmarshal(out, &told); err != nil {
			return "", err
		}
	}
	if err != nil || told.Error != "" {
		return "", errors.Join(fmt.Errorf("%s: %s", cmd, told.Error), err)
	}
	return told.Dir, nil
}
