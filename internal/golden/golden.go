// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package golden describes the defaults of an API server in lines, for comparison.
// internal/bench/golden writes the lines of the real kube-apiserver and
// kube-controller-manager to testdata, and tests compare this project's lines with them.
package golden

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// File names.
const (
	Groups    = "groups"    // API groups with their versions, in the order of discovery
	Resources = "resources" // every resource and subresource of aggregated discovery
	Schemas   = "schemas"   // every schema of OpenAPI v2, with a digest
	Features  = "features"  // every feature gate: name, stage, and 1 if it is enabled
	Objects   = "objects"   // every object, without identity and times
	Admission = "admission" // the enabled admission plugins, in their order
	Checks    = "healthz"   // health checks; for kube-controller-manager, the enabled and disabled controllers
	Settings  = "configz"   // the settings of kube-controller-manager
)

// Lines has the lines of each file, by its name.
type Lines map[string][]string

// Describe describes the API server of config.
func Describe(ctx context.Context, config *rest.Config) (Lines, error) {
	return describe(ctx, config, (*server).discovery, (*server).schemas, (*server).features, (*server).objects)
}

// DescribeObjects returns only the objects.
func DescribeObjects(ctx context.Context, config *rest.Config) (Lines, error) {
	lines, err := describe(ctx, config, (*server).discovery, (*server).objects)
	return Lines{Objects: lines[Objects]}, err
}

func describe(ctx context.Context, config *rest.Config, parts ...func(*server) error) (Lines, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	s := &server{ctx: ctx, client: client, lines: Lines{}}
	if s.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, err
	}
	for _, part := range parts {
		if err := part(s); err != nil {
			return nil, err
		}
	}
	return s.lines, nil
}

type server struct {
	ctx      context.Context
	client   *kubernetes.Clientset
	dynamic  dynamic.Interface
	lines    Lines
	listable []schema.GroupVersionResource
}

func (s *server) get(path string) ([]byte, error) {
	return s.client.RESTClient().Get().RequestURI(path).SetHeader("Accept", "application/json").DoRaw(s.ctx)
}

func (s *server) discovery() error {
	for _, path := range []string{"/api", "/apis"} {
		data, err := s.client.RESTClient().Get().RequestURI(path).
			SetHeader("Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList").DoRaw(s.ctx)
		if err != nil {
			return err
		}
		var list apidiscoveryv2.APIGroupDiscoveryList
		if err := json.Unmarshal(data, &list); err != nil {
			return err
		}
		for _, group := range list.Items {
			s.group(group)
		}
	}
	slices.Sort(s.lines[Resources])
	return nil
}

func (s *server) group(group apidiscoveryv2.APIGroupDiscovery) {
	var versions []string
	listed := map[string]bool{}
	for _, version := range group.Versions {
		versions = append(versions, version.Version)
		gv := schema.GroupVersion{Group: group.Name, Version: version.Version}
		for _, r := range version.Resources {
			kind := ""
			if r.ResponseKind != nil {
				kind = r.ResponseKind.Kind
			}
			s.lines[Resources] = append(s.lines[Resources], fmt.Sprintf("%s/%s %s %s one=%s verbs=%s short=%s categories=%s",
				gv, r.Resource, kind, r.Scope, r.SingularResource, join(r.Verbs), join(r.ShortNames), join(r.Categories)))
			for _, sub := range r.Subresources {
				kind := ""
				if sub.ResponseKind != nil {
					kind = sub.ResponseKind.Kind
				}
				s.lines[Resources] = append(s.lines[Resources], fmt.Sprintf("%s/%s/%s %s verbs=%s", gv, r.Resource, sub.Subresource, kind, join(sub.Verbs)))
			}
			// Events depend on the machine.
			if slices.Contains(r.Verbs, "list") && !listed[r.Resource] && r.Resource != "events" {
				listed[r.Resource] = true
				s.listable = append(s.listable, gv.WithResource(r.Resource))
			}
		}
	}
	s.lines[Groups] = append(s.lines[Groups], strings.TrimSpace(group.Name+" "+strings.Join(versions, " ")))
}

func join(words []string) string {
	words = slices.Clone(words)
	slices.Sort(words)
	return strings.Join(words, ",")
}

func (s *server) schemas() error {
	data, err := s.get("/openapi/v2")
	if err != nil {
		return err
	}
	var document struct{ Definitions map[string]any }
	if err := json.Unmarshal(data, &document); err != nil {
		return err
	}
	for name, definition := range document.Definitions {
		text, err := json.Marshal(definition) // sorts
		if err != nil {
			return err
		}
		sum := sha256.Sum256(text)
		s.lines[Schemas] = append(s.lines[Schemas], name+" "+hex.EncodeToString(sum[:6]))
	}
	slices.Sort(s.lines[Schemas])
	return nil
}

func (s *server) features() error {
	data, err := s.get("/metrics")
	if err != nil {
		return err
	}
	s.lines[Features] = FeaturesIn(string(data))
	return nil
}

var feature = regexp.MustCompile(`(?m)^kubernetes_feature_enabled\{name="([^"]*)",stage="([^"]*)"\} (\S+)$`)

// FeaturesIn returns the lines of the feature gates in metrics.
func FeaturesIn(metrics string) []string {
	var lines []string
	for _, m := range feature.FindAllStringSubmatch(metrics, -1) {
		lines = append(lines, strings.Join(m[1:], " "))
	}
	slices.Sort(lines)
	return lines
}

func (s *server) objects() error {
	seen := map[string]bool{}
	for _, resource := range s.listable {
		list, err := s.dynamic.Resource(resource).List(s.ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("%s: %w", resource, err)
		}
		for i := range list.Items {
			line, err := lineOf(resource, &list.Items[i], seen)
			if err != nil {
				return err
			}
			if line != "" {
				s.lines[Objects] = append(s.lines[Objects], line)
			}
		}
	}
	slices.Sort(s.lines[Objects])
	return nil
}

// normalized are values that differ between servers, and their replacements.
var normalized = []struct {
	pattern *regexp.Regexp
	text    string
}{
	{regexp.MustCompile(`-----BEGIN [A-Z ]+-----[^-]*-----END [A-Z ]+-----(\\n)?`), "PEM"},
	{regexp.MustCompile(`"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z"`), `"TIME"`},
	{regexp.MustCompile(`"since":"\d{4}-\d{2}-\d{2}"`), `"since":"DATE"`},
	{regexp.MustCompile(`apiserver-[a-z0-9]{26}_[-0-9a-f]{36}`), "SERVER_ID"},
	{regexp.MustCompile(`apiserver-[a-z0-9]{26}`), "SERVER"},
	{regexp.MustCompile(`"(kubernetes.io/hostname)":"[^"]*"`), `"$1":"HOST"`},
	{regexp.MustCompile(`("kubernetes.io/peer-advertise-address":"[^"]*:)\d+"`), `${1}PORT"`},
	{regexp.MustCompile(`"resourceVersion":"\d+"`), `"resourceVersion":"VERSION"`},
	{regexp.MustCompile(`"port":\d{4,5}`), `"port":"PORT"`},
	{regexp.MustCompile(`"targetPort":\d{4,5}`), `"targetPort":"PORT"`},
	{regexp.MustCompile(`"uid":"[-0-9a-f]{36}"`), `"uid":"UID"`},
	{regexp.MustCompile(`(kubernetes.io:kube-apiserver-serving:)[0-9a-f]+`), "${1}HASH"},
}

// volatileFields are fields of metadata that identify an object or its time.
var volatileFields = []string{"uid", "resourceVersion", "creationTimestamp"}

func lineOf(resource schema.GroupVersionResource, object *unstructured.Unstructured, seen map[string]bool) (string, error) {
	name := object.GetName()
	if object.GetGenerateName() != "" && strings.HasPrefix(name, object.GetGenerateName()) {
		name = object.GetGenerateName() + "*"
		object.SetName(name)
	}
	metadata, _, _ := unstructured.NestedMap(object.Object, "metadata")
	for _, field := range volatileFields {
		delete(metadata, field)
	}
	var managers []any
	for _, m := range object.GetManagedFields() {
		managers = append(managers, strings.Join([]string{m.Manager, string(m.Operation), m.APIVersion, m.Subresource}, " "))
	}
	if metadata["managedFields"] = managers; managers == nil {
		delete(metadata, "managedFields")
	}
	object.Object["metadata"] = metadata
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(object.Object); err != nil {
		return "", err
	}
	where := strings.TrimPrefix(object.GetNamespace()+"/"+name, "/")
	line := fmt.Sprintf("%s %s %s", resource.GroupResource(), where, strings.TrimSpace(b.String()))
	for _, u := range normalized {
		line = u.pattern.ReplaceAllString(line, u.text)
	}
	if seen[line] { // of several versions, or several servers
		return "", nil
	}
	seen[line] = true
	return line, nil
}

var loaded = regexp.MustCompile(`Loaded \d+ (mutating|validating) admission controller\(s\) successfully in the following order: ([A-Za-z,]+)\.`)

// AdmissionIn returns the admission plugins in upstream's log.
func AdmissionIn(log string) []string {
	var lines []string
	for _, m := range loaded.FindAllStringSubmatch(log, -1) {
		for plugin := range strings.SplitSeq(m[2], ",") {
			lines = append(lines, m[1]+" "+plugin)
		}
	}
	return lines
}

// Write writes one file per name.
func (l Lines) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for name, lines := range l {
		fmt.Fprintln(os.Stderr, filepath.Join(dir, name), len(lines))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil { //nolint:gosec // for all who read the source
			return err
		}
	}
	return nil
}

// Difference is an intended difference from the golden file.
type Difference struct {
	File string
	// Lines matches its lines, each with "-" if only the golden file has the line, and
	// "+" if only we have it.
	Lines string
	// Reason explains the difference.
	Reason string
}

// Compare returns unexplained differences, and explanations without a difference.
func Compare(dir string, ours Lines, explained []Difference) error {
	var errs []error
	used := make([]bool, len(explained))
	patterns := make([]*regexp.Regexp, len(explained))
	for i, e := range explained {
		if e.Reason == "" {
			errs = append(errs, fmt.Errorf("%s: %s has no reason", e.File, e.Lines))
		}
		var err error
		if patterns[i], err = regexp.Compile("^(?:" + e.Lines + ")$"); err != nil {
			return err
		}
	}
	for name, lines := range ours {
		data, err := os.ReadFile(filepath.Join(dir, name)) //nolint:gosec // testdata
		if err != nil {
			return fmt.Errorf("%w: create it with go run ./internal/bench/golden", err)
		}
		theirs := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
		for _, line := range differences(theirs, lines) {
			reason := false
			for i, p := range patterns {
				if explained[i].File == name && p.MatchString(line) {
					reason, used[i] = true, true
				}
			}
			if !reason {
				errs = append(errs, fmt.Errorf("%s: %s", name, line))
			}
		}
	}
	for i, e := range explained {
		if _, compared := ours[e.File]; compared && !used[i] {
			errs = append(errs, fmt.Errorf("%s: no difference matches %s: remove its entry", e.File, e.Lines))
		}
	}
	return errors.Join(errs...)
}

// differences returns the lines that only one side has. If both sides have the same lines
// in another order, it returns the first line in another place.
func differences(theirs, ours []string) []string {
	var found []string
	for _, line := range theirs {
		if !slices.Contains(ours, line) {
			found = append(found, "-"+line)
		}
	}
	for _, line := range ours {
		if !slices.Contains(theirs, line) {
			found = append(found, "+"+line)
		}
	}
	common := func(lines, others []string) []string {
		return slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return !slices.Contains(others, line) })
	}
	t, o := common(theirs, ours), common(ours, theirs)
	for i := range min(len(t), len(o)) {
		if t[i] != o[i] {
			return append(found, fmt.Sprintf("order: %s where it should be %s", o[i], t[i]))
		}
	}
	return found
}
