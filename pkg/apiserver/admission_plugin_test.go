// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-base/compatibility"
	"k8s.io/component-base/featuregate"
	"k8s.io/kubernetes/pkg/apis/core"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

const (
	costPlugin = "example.com/CostCentre"
	costLabel  = "cost-centre"
)

// costCentre gives objects the cost centre of their namespace, and refuses objects with
// another one. It wants everything that upstream's initializers have.
type costCentre struct {
	*admission.Handler
	client     kubernetes.Interface
	dynamic    dynamic.Interface
	namespaces corev1listers.NamespaceLister
	authorizer authorizer.UnconditionalAuthorizer
	gates      featuregate.FeatureGate
	mapper     meta.RESTMapper
	version    compatibility.EffectiveVersion
	drained    <-chan struct{}

	made   int
	dryRun atomic.Int64
	mu     sync.Mutex
	early  []string // pods that have had no priority yet
}

var (
	_ admission.MutationInterface                  = &costCentre{}
	_ admission.ValidationInterface                = &costCentre{}
	_ admission.InitializationValidator            = &costCentre{}
	_ initializer.WantsExternalKubeClientSet       = &costCentre{}
	_ initializer.WantsExternalKubeInformerFactory = &costCentre{}
	_ initializer.WantsUnconditionalAuthorizer     = &costCentre{}
	_ initializer.WantsFeatures                    = &costCentre{}
	_ initializer.WantsRESTMapper                  = &costCentre{}
	_ initializer.WantsDynamicClient               = &costCentre{}
	_ initializer.WantsDrainedNotification         = &costCentre{}
	_ initializer.WantsEffectiveVersion            = &costCentre{}
)

func (c *costCentre) SetExternalKubeClientSet(client kubernetes.Interface) { c.client = client }
func (c *costCentre) SetDynamicClient(client dynamic.Interface)            { c.dynamic = client }
func (c *costCentre) InspectFeatureGates(gates featuregate.FeatureGate)    { c.gates = gates }
func (c *costCentre) SetRESTMapper(mapper meta.RESTMapper)                 { c.mapper = mapper }
func (c *costCentre) SetDrainedNotification(drained <-chan struct{})       { c.drained = drained }
func (c *costCentre) InspectEffectiveVersion(v compatibility.EffectiveVersion) {
	c.version = v
}

func (c *costCentre) SetUnconditionalAuthorizer(a authorizer.UnconditionalAuthorizer) {
	c.authorizer = a
}

func (c *costCentre) SetExternalKubeInformerFactory(factory informers.SharedInformerFactory) {
	namespaces := factory.Core().V1().Namespaces()
	c.namespaces = namespaces.Lister()
	c.SetReadyFunc(namespaces.Informer().HasSynced)
}

func (c *costCentre) ValidateInitialization() error {
	if c.client == nil || c.dynamic == nil || c.namespaces == nil || c.authorizer == nil || c.gates == nil || c.mapper == nil || c.version == nil || c.drained == nil {
		return fmt.Errorf("something is missing: %+v", c)
	}
	return nil
}

func (c *costCentre) of(a admission.Attributes) (object metav1.Object, cost string, err error) {
	if a.GetNamespace() == "" || a.GetSubresource() != "" || !c.WaitForReady() {
		return nil, "", nil
	}
	namespace, err := c.namespaces.Get(a.GetNamespace())
	if err != nil {
		return nil, "", err
	}
	if object, err = meta.Accessor(a.GetObject()); err != nil {
		return nil, "", err
	}
	return object, namespace.Labels[costLabel], nil
}

func (c *costCentre) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	object, cost, err := c.of(a)
	if err != nil || cost == "" || object.GetLabels()[costLabel] != "" {
		return err
	}
	if pod, ok := a.GetObject().(*core.Pod); ok && pod.Spec.Priority == nil {
		c.mu.Lock()
		c.early = append(c.early, pod.Name)
		c.mu.Unlock()
	}
	if a.IsDryRun() {
		c.dryRun.Add(1)
	}
	labels := object.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[costLabel] = cost
	object.SetLabels(labels)
	return a.AddAnnotation("cost-centre.example.com/stamped", cost)
}

func (c *costCentre) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	object, cost, err := c.of(a)
	if err != nil || cost == "" || object.GetLabels()[costLabel] == cost {
		return err
	}
	decision, _, err := c.authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: a.GetUserInfo(), Verb: "override", APIGroup: "example.com", Resource: "costcentres", ResourceRequest: true,
	})
	if err == nil && decision == authorizer.DecisionAllow {
		return nil
	}
	return admission.NewForbidden(a, fmt.Errorf("the cost centre of %s is %s", a.GetNamespace(), cost))
}

// withCostCentre adds the plugin before another.
func withCostCentre(plugin *costCentre, before string) func(*apiserver.Config) {
	return func(c *apiserver.Config) {
		c.Admission.Plugins = append(c.Admission.Plugins, apiserver.AdmissionPlugin{
			Name: costPlugin, Before: before,
			New: func() (admission.Interface, error) {
				plugin.made++
				return plugin, nil
			},
		})
	}
}

// TestGoAdmissionPlugin runs a plugin in Go with all that upstream's have.
func TestGoAdmissionPlugin(t *testing.T) {
	const group = "cost.example.com"
	plugin := &costCentre{Handler: admission.NewHandler(admission.Create, admission.Update)}
	dir := t.TempDir()
	auditLog := filepath.Join(dir, "audit.log")
	p, err := newPlane(dir, withCostCentre(plugin, ""), func(c *apiserver.Config) { c.Audit.Log.Path = auditLog })
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	defer stop()
	ctx := t.Context()
	ns := p.namespace(t, costLabel, "4711")
	// As upstream, which records the fields of a request before admission: nobody owns
	// what admission adds, and the manager of the request owns the rest.
	managed := func(object metav1.Object, manager, field string) {
		t.Helper()
		entries := object.GetManagedFields()
		if len(entries) != 1 || entries[0].Manager != manager {
			t.Errorf("%s: got managedFields %v, want those of %s", object.GetName(), entries, manager)
			return
		}
		if fields := string(entries[0].FieldsV1.GetRawBytes()); !strings.Contains(fields, field) || strings.Contains(fields, costLabel) {
			t.Errorf("%s: got fields %s, want %s without the label", object.GetName(), fields, field)
		}
	}

	created := must(p.createPod(t, ns, pod("stamped"), metav1.CreateOptions{FieldManager: "tester"}))(t)
	if created.Labels[costLabel] != "4711" {
		t.Errorf("got labels %v, want the cost centre", created.Labels)
	}
	managed(created, "tester", `"f:image"`)
	configMaps := p.admin().CoreV1().ConfigMaps(ns)
	for _, value := range []string{"created", "updated"} {
		apply := applycorev1.ConfigMap("applied", ns).WithData(map[string]string{"key": value})
		applied := must(configMaps.Apply(ctx, apply, metav1.ApplyOptions{FieldManager: "applier"}))(t)
		if applied.Labels[costLabel] != "4711" || applied.Data["key"] != value {
			t.Errorf("apply: got labels %v and data %v, want the cost centre and %s", applied.Labels, applied.Data, value)
		}
		managed(applied, "applier", `"f:key"`)
	}
	custom := must(p.widgets(t, group).Namespace(ns).Create(ctx, widget(group, "custom", 1), metav1.CreateOptions{FieldManager: "tester"}))(t)
	if custom.GetLabels()[costLabel] != "4711" {
		t.Errorf("custom resource: got labels %v, want the cost centre", custom.GetLabels())
	}
	managed(custom, "tester", `"f:size"`)

	dry := must(p.createPod(t, ns, pod("dry"), dryRun))(t)
	if dry.Labels[costLabel] != "4711" || plugin.dryRun.Load() != 1 {
		t.Errorf("dry run: got labels %v and %d calls with it, want the cost centre and one", dry.Labels, plugin.dryRun.Load())
	}
	if _, err := p.admin().CoreV1().Pods(ns).Get(ctx, "dry", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("dry run: got %v, want nothing stored", err)
	}

	// A right that only the plugin asks for.
	wrong := pod("wrong")
	wrong.Labels = map[string]string{costLabel: "1"}
	jane := clientset(t, p.as(t, "jane"))
	p.grant(t, "jane", "", "pods", "create")
	_, err = jane.CoreV1().Pods(ns).Create(ctx, wrong, metav1.CreateOptions{})
	wantRefused(t, err, "the cost centre of "+ns+" is 4711")
	p.grant(t, "jane", "example.com", "costcentres", "override")
	must(jane.CoreV1().Pods(ns).Create(ctx, wrong, metav1.CreateOptions{}))(t)

	metrics := p.get(t, "/metrics").want(t, http.StatusOK).body
	for _, phase := range []string{"admit", "validate"} {
		want := fmt.Sprintf(`apiserver_admission_controller_admission_duration_seconds_count{name=%q,operation="CREATE",rejected="false",type=%q}`, costPlugin, phase)
		if !strings.Contains(metrics, want) {
			t.Errorf("%s is not in the metrics", want)
		}
	}
	if plugin.made != 1 {
		t.Errorf("New was called %d times, want once", plugin.made)
	}
	select {
	case <-plugin.drained:
		t.Error("the plugin is drained before the stop")
	default:
	}
	stop()
	select {
	case <-plugin.drained:
	default:
		t.Error("the plugin is not drained after the stop")
	}
	if log := string(must(os.ReadFile(auditLog))(t)); !strings.Contains(log, `"cost-centre.example.com/stamped":"4711"`) {
		t.Error("the plugin's annotation is not in the audit log")
	}
	if len(plugin.early) != 0 {
		t.Errorf("called before the Priority plugin for %v", plugin.early)
	}
}

// grant gives a user a right in the whole cluster.
func (p *plane) grant(t testing.TB, user, group, resource, verb string) {
	t.Helper()
	name := "test:" + user + ":" + resource
	rbac := p.admin().RbacV1()
	must(rbac.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{group}, Resources: []string{resource}, Verbs: []string{verb}}},
	}, metav1.CreateOptions{}))(t)
	must(rbac.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}, metav1.CreateOptions{}))(t)
}

// reinvoked counts the calls of a plugin that follow a change by a webhook.
type reinvoked struct {
	*admission.Handler
	first, again atomic.Int64
}

func (r *reinvoked) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().Resource != "pods" {
		return nil
	}
	if a.GetReinvocationContext().IsReinvoke() {
		r.again.Add(1)
	} else {
		r.first.Add(1)
	}
	return nil
}

// TestGoAdmissionPluginsInOrder runs two plugins: one before a plugin of upstream, one
// that a webhook's change calls again. A third one is disabled.
func TestGoAdmissionPluginsInOrder(t *testing.T) {
	early := &costCentre{Handler: admission.NewHandler(admission.Create)}
	late := &reinvoked{Handler: admission.NewHandler(admission.Create)}
	p := startPlane(t, func(c *apiserver.Config) {
		c.DisableAdmissionPlugins = []string{"Broken"}
		c.Admission.Plugins = []apiserver.AdmissionPlugin{
			{Name: "Reinvoked", New: func() (admission.Interface, error) { return late, nil }},
			{Name: "Broken", New: func() (admission.Interface, error) { return nil, errors.New("broken") }},
		}
	}, withCostCentre(early, "Priority"))
	ns := p.namespace(t, costLabel, "1")
	none, fail := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Fail
	must(p.admin().AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: ns},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "mutating.example.com", Rules: []admissionregistrationv1.RuleWithOperations{podCreation},
			FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, NamespaceSelector: inNamespace(ns),
			ClientConfig: webhook(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
				kind := admissionv1.PatchTypeJSONPatch
				return &admissionv1.AdmissionResponse{Allowed: true, PatchType: &kind, Patch: []byte(`[{"op":"add","path":"/metadata/annotations","value":{"mutated":"yes"}}]`)}
			}),
		}},
	}, metav1.CreateOptions{}))(t)
	testwait.Until(t, "the webhook changes the pod", func(context.Context) error {
		created, err := p.createPod(t, ns, pod("any"), dryRun)
		if err != nil || created.Annotations["mutated"] != "yes" {
			return fmt.Errorf("annotations %v, %w", created.GetAnnotations(), errors.Join(err))
		}
		return nil
	})
	if late.again.Load() == 0 || late.first.Load() < late.again.Load() {
		t.Errorf("got %d first calls and %d after the webhook, want at least one of each", late.first.Load(), late.again.Load())
	}
	if !slices.Contains(early.early, "any") {
		t.Errorf("the plugin before Priority has seen no pod without a priority: %v", early.early)
	}
}

// hostileAdmission does what the names of pods say. It blocks, and then refuses, what the
// server itself writes.
type hostileAdmission struct {
	*admission.Handler
	blocked chan struct{} // gets a value per call that blocks
	release chan struct{}
	once    sync.Once
}

func newHostileAdmission() *hostileAdmission {
	return &hostileAdmission{
		Handler: admission.NewHandler(admission.Create, admission.Update, admission.Delete, admission.Connect),
		blocked: make(chan struct{}, 100), release: make(chan struct{}),
	}
}

// unblock lets the blocked calls return.
func (h *hostileAdmission) unblock() { h.once.Do(func() { close(h.release) }) }

func (h *hostileAdmission) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetUserInfo().GetName() == "system:apiserver" {
		<-h.release
		return errors.New("the server may not write either")
	}
	if a.GetResource().Resource != "pods" || a.GetOperation() == admission.Delete {
		return nil
	}
	object, err := meta.Accessor(a.GetObject())
	if err != nil {
		return err
	}
	switch object.GetName() {
	case "panics":
		panic("a bug of the host")
	case "blocks":
		h.block()
	case "waits":
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (h *hostileAdmission) block() {
	h.blocked <- struct{}{}
	<-h.release
}

// TestHostileGoAdmissionPlugin: a plugin that panics or blocks fails the request, with
// its name. Other requests work, as do start and stop.
func TestHostileGoAdmissionPlugin(t *testing.T) {
	hostile := newHostileAdmission()
	defer hostile.unblock()
	p := startPlane(t, func(c *apiserver.Config) {
		c.Admission.Plugins = []apiserver.AdmissionPlugin{{Name: "Hostile", New: func() (admission.Interface, error) { return hostile, nil }}}
	})
	pods := func(name, query string) answer {
		return p.call(t, p.inProcess(t), http.MethodPost, "/api/v1/namespaces/default/pods"+query,
			`{"metadata":{"name":"`+name+`"},"spec":{"containers":[{"name":"c","image":"i"}]}}`)
	}
	wantNamed := func(a answer, code int, reason metav1.StatusReason) {
		t.Helper()
		var status metav1.Status
		if err := json.Unmarshal([]byte(a.want(t, code).body), &status); err != nil || status.Reason != reason || !strings.Contains(status.Message, `admission plugin "Hostile"`) {
			t.Errorf("got %s (%v), want reason %s and the name of the plugin", a.body, err, reason)
		}
	}
	wantNamed(pods("panics", ""), http.StatusInternalServerError, metav1.StatusReasonInternalError)
	wantNamed(pods("waits", "?timeout=2s"), http.StatusGatewayTimeout, metav1.StatusReasonTimeout)
	wantNamed(pods("blocks", "?timeout=2s"), http.StatusGatewayTimeout, metav1.StatusReasonTimeout)
	<-hostile.blocked
	pods("works", "").want(t, http.StatusCreated)

	// Over TLS, with a deadline of the client.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := clientset(t, p.as(t, "admin", "system:masters")).CoreV1().Pods("default").Create(ctx, pod("blocks"), metav1.CreateOptions{})
	if err == nil {
		t.Error("a pod was created although the plugin blocks")
	}
	<-hostile.blocked

	// The stop waits for the calls.
	stopped := make(chan error, 1)
	go func() { stopped <- p.Stop(t.Context()) }()
	hostile.unblock()
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
}

// TestStopNamesABlockedPlugin takes ten seconds, as long as the stop waits.
func TestStopNamesABlockedPlugin(t *testing.T) {
	t.Parallel()
	hostile := newHostileAdmission()
	defer hostile.unblock()
	p, err := newPlane(t.TempDir(), func(c *apiserver.Config) {
		c.Admission.Plugins = []apiserver.AdmissionPlugin{{Name: "Hostile", New: func() (admission.Interface, error) { return hostile, nil }}}
	})
	if err != nil {
		t.Fatal(err)
	}
	p.call(t, p.inProcess(t), http.MethodPost, "/api/v1/namespaces/default/pods?timeout=1s",
		`{"metadata":{"name":"blocks"},"spec":{"containers":[{"name":"c","image":"i"}]}}`).want(t, http.StatusGatewayTimeout)
	if err := p.close(); !contains(err, "plugins of the host that do not return (Hostile)") {
		t.Errorf("got %v, want the name of the plugin that blocks", err)
	}
}

// neither is a plugin without a phase.
type neither struct{ *admission.Handler }

// unvalidated is a plugin that upstream does not initialize.
type unvalidated struct{ reinvoked }

func (*unvalidated) SetRESTMapper(meta.RESTMapper) {}

// badInitialization is a plugin that fails to initialize in a way of its own.
type badInitialization struct {
	reinvoked
	set, validate func() error
}

func (b *badInitialization) SetExternalKubeClientSet(kubernetes.Interface) {
	if b.set != nil {
		_ = b.set()
	}
}

func (b *badInitialization) ValidateInitialization() error {
	if b.validate != nil {
		return b.validate()
	}
	return nil
}

var errNoPlugin = errors.New("there is no plugin today")

func TestBadGoAdmissionPlugin(t *testing.T) {
	released := make(chan struct{})
	t.Cleanup(func() { close(released) })
	var giveUp context.CancelCauseFunc // the start
	block := func() error {
		giveUp(errNoPlugin)
		<-released
		return nil
	}
	for name, c := range map[string]struct {
		make func() (admission.Interface, error)
		want []string
		is   error
	}{
		"an error":                               {func() (admission.Interface, error) { return nil, errNoPlugin }, []string{"Config.Admission.Plugins[1].New: there is no plugin today"}, errNoPlugin},
		"nil":                                    {func() (admission.Interface, error) { return nil, nil }, []string{"Config.Admission.Plugins[1].New: ", "no plugin and no error"}, nil},
		"a nil pointer":                          {func() (admission.Interface, error) { return (*costCentre)(nil), nil }, []string{"Config.Admission.Plugins[1].New: ", "no plugin and no error"}, nil},
		"without phases":                         {func() (admission.Interface, error) { return neither{admission.NewHandler()}, nil }, []string{"Config.Admission.Plugins[1].New: ", "apiserver_test.neither", "MutationInterface"}, nil},
		"setters without ValidateInitialization": {func() (admission.Interface, error) { return &unvalidated{}, nil }, []string{"Config.Admission.Plugins[1].New: ", "SetRESTMapper", "ValidateInitialization"}, nil},
		"a panic":                                {func() (admission.Interface, error) { panic("made of glass") }, []string{"Config.Admission.Plugins[1].New: panicked: made of glass"}, nil},
		"not initialized": {func() (admission.Interface, error) {
			return &badInitialization{validate: func() error { return errNoPlugin }}, nil
		}, []string{"Config.Admission.Plugins[1]: ", "there is no plugin today"}, nil},
		"a panic in a setter": {func() (admission.Interface, error) {
			return &badInitialization{set: func() error { panic("made of glass") }}, nil
		}, []string{"Config.Admission.Plugins[1]: ", `"Second"`, "made of glass"}, nil},
		"New exits": {func() (admission.Interface, error) { runtime.Goexit(); return nil, nil }, []string{"Config.Admission.Plugins[1].New: ended its goroutine"}, nil},
		"a setter exits": {func() (admission.Interface, error) {
			return &badInitialization{set: func() error { runtime.Goexit(); return nil }}, nil
		}, []string{"Config.Admission.Plugins[1]: ", `"Second"`, "ended its goroutine"}, nil},
		"ValidateInitialization exits": {func() (admission.Interface, error) {
			return &badInitialization{validate: func() error { runtime.Goexit(); return nil }}, nil
		}, []string{"Config.Admission.Plugins[1]: ", `"Second"`, "ended its goroutine"}, nil},
		"New blocks": {func() (admission.Interface, error) { return nil, block() },
			[]string{"Config.Admission.Plugins[1].New: had not returned when the start was given up"}, errNoPlugin},
		"a setter blocks": {func() (admission.Interface, error) { return &badInitialization{set: block}, nil },
			[]string{"Config.Admission.Plugins[1]: ", `"Second"`, "had not returned when the start was given up"}, nil},
		"ValidateInitialization blocks": {func() (admission.Interface, error) { return &badInitialization{validate: block}, nil },
			[]string{"Config.Admission.Plugins[1]: ", `"Second"`, "had not returned when the start was given up"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var starting context.Context
			starting, giveUp = context.WithCancelCause(t.Context())
			defer giveUp(nil)
			p, err := newPlane(t.TempDir(), func(cfg *apiserver.Config) {
				access.SetStarting(cfg, starting)
				first := &reinvoked{Handler: admission.NewHandler()}
				cfg.Admission.Plugins = []apiserver.AdmissionPlugin{
					{Name: "First", New: func() (admission.Interface, error) { return first, nil }},
					{Name: "Second", New: c.make},
				}
			})
			if err == nil {
				t.Fatal(errors.Join(errors.New("the server works"), p.close()))
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("got %v, want %v in it", err, c.is)
			}
		})
	}
}

// watchingPlugin has an event handler that panics, and notes whether an informer has
// synced before the start.
type watchingPlugin struct {
	*admission.Handler
	seen  chan string // the names of ConfigMaps
	early []bool
}

func (w *watchingPlugin) SetExternalKubeInformerFactory(factory informers.SharedInformerFactory) {
	policies := factory.Admissionregistration().V1().ValidatingAdmissionPolicies().Informer()
	w.early = append(w.early, policies.HasSynced())
	configMaps := factory.Core().V1().ConfigMaps().Informer()
	if _, err := configMaps.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(object any) {
		if object, err := meta.Accessor(object); err == nil && object.GetNamespace() == "default" {
			w.seen <- object.GetName()
			panic("a bug of the host")
		}
	}}); err != nil {
		panic(err)
	}
}

func (*watchingPlugin) ValidateInitialization() error { return nil }

func (*watchingPlugin) Validate(context.Context, admission.Attributes, admission.ObjectInterfaces) error {
	return nil
}

// TestEventHandlersOfAPluginPanic: the process lives, and the handler gets the next
// event.
func TestEventHandlersOfAPluginPanic(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	plugin := &watchingPlugin{Handler: admission.NewHandler(admission.Create), seen: make(chan string, 10)}
	p := startPlane(t, func(c *apiserver.Config) {
		c.Logger = zap.New(core)
		c.Admission.Plugins = []apiserver.AdmissionPlugin{{Name: "Watching", New: func() (admission.Interface, error) { return plugin, nil }}}
	})
	for _, name := range []string{"first", "second"} {
		must(p.admin().CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))(t)
		if got := <-plugin.seen; got != name {
			t.Errorf("the handler got %s, want %s", got, name)
		}
	}
	testwait.Until(t, "the log has both panics", func(context.Context) error {
		if got := logs.FilterMessage("code of the host panicked").FilterField(zap.String("code", `admission plugin "Watching": an event handler`)).Len(); got != 2 {
			return fmt.Errorf("it has %d", got)
		}
		return nil
	})
	if !slices.Equal(plugin.early, []bool{false}) {
		t.Errorf("HasSynced returned %v before the start, want false once", plugin.early)
	}
}
