// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package informers

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"

	networkingv1 "k8s.io/api/networking/v1"
	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"github.com/kubembed/kubembed/internal/apiserver/runtimeconfig"
)

// Disabled answers the server's own informers for built-in resources that
// Config.RuntimeConfig disables: with an empty list, and a watch without events.
// Authorizers and admission plugins list resources of many groups, and upstream never
// becomes ready when one of the groups is not served. Clients get 404, as from
// kube-apiserver.
type Disabled struct {
	kinds map[schema.GroupVersionResource]string // of objects
	// serviceCIDR is the exception. Upstream's check of Service addresses at start waits
	// for the default ServiceCIDR.
	serviceCIDR *networkingv1.ServiceCIDR
}

// NewDisabled returns nil if no resource is disabled by overrides. Informers get
// serviceCIDR where ServiceCIDRs are disabled.
func NewDisabled(overrides map[string]string, serviceCIDR *networkingv1.ServiceCIDR) (*Disabled, error) {
	if len(overrides) == 0 {
		return nil, nil
	}
	u := &Disabled{kinds: map[schema.GroupVersionResource]string{}, serviceCIDR: serviceCIDR}
	builtin, err := runtimeconfig.Builtin(overrides)
	if err != nil {
		return nil, err
	}
	u.add(legacyscheme.Scheme, builtin)
	extensions, err := runtimeconfig.Extensions(overrides)
	if err != nil {
		return nil, err
	}
	u.add(apiextensionsapiserver.Scheme, extensions)
	return u, nil
}

func (u *Disabled) add(scheme *runtime.Scheme, enabled *serverstorage.ResourceConfig) {
	for gvk := range scheme.AllKnownTypes() {
		if gvk.Version == runtime.APIVersionInternal {
			continue
		}
		resource, _ := meta.UnsafeGuessKindToResource(gvk)
		if scheme.Recognizes(gvk.GroupVersion().WithKind(gvk.Kind+"List")) && !enabled.ResourceEnabled(resource) {
			u.kinds[resource] = gvk.Kind
		}
	}
}

// Wrap returns a transport that answers requests for disabled resources, and passes the
// others to next. Watches end with ctx.
func (u *Disabled) Wrap(ctx context.Context, next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodGet {
			if resource, ok := collection(r.URL.Path); ok {
				if kind, ok := u.kinds[resource]; ok {
					var items []runtime.Object
					if resource == networkingv1.SchemeGroupVersion.WithResource("servicecidrs") {
						items = append(items, u.serviceCIDR)
					}
					return answer(ctx, r, resource.GroupVersion(), kind, items)
				}
			}
		}
		return next.RoundTrip(r)
	})
}

// collection returns the resource of a cluster-wide list or watch.
func collection(path string) (resource schema.GroupVersionResource, ok bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(parts) == 3 && parts[0] == "api":
		return schema.GroupVersionResource{Version: parts[1], Resource: parts[2]}, true
	case len(parts) == 4 && parts[0] == "apis":
		return schema.GroupVersionResource{Group: parts[1], Version: parts[2], Resource: parts[3]}, true
	}
	return schema.GroupVersionResource{}, false
}

// answer returns a response with a list of items, or with a watch that has no events
// after them.
func answer(ctx context.Context, r *http.Request, gv schema.GroupVersion, kind string, items []runtime.Object) (*http.Response, error) {
	body := &watchBody{ctx: ctx, request: r.Context(), closed: make(chan struct{})}
	var documents []any
	switch query := r.URL.Query(); {
	case query.Get("watch") != "true" && query.Get("watch") != "1":
		body.isList = true
		list := metav1.List{
			TypeMeta: metav1.TypeMeta{APIVersion: gv.String(), Kind: kind + "List"},
			ListMeta: metav1.ListMeta{ResourceVersion: "1"},
			Items:    []runtime.RawExtension{},
		}
		for _, item := range items {
			list.Items = append(list.Items, runtime.RawExtension{Object: item})
		}
		documents = append(documents, list)
	case query.Get("sendInitialEvents") == "true":
		for _, item := range items {
			documents = append(documents, map[string]any{"type": "ADDED", "object": item})
		}
		documents = append(documents, map[string]any{"type": "BOOKMARK", "object": metav1.PartialObjectMetadata{
			TypeMeta: metav1.TypeMeta{APIVersion: gv.String(), Kind: kind},
			ObjectMeta: metav1.ObjectMeta{
				ResourceVersion: "1",
				Annotations:     map[string]string{metav1.InitialEventsAnnotationKey: "true"},
			},
		}})
	}
	for _, document := range documents {
		content, err := json.Marshal(document)
		if err != nil {
			return nil, err
		}
		body.content.Write(content)
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK,
		Proto: "HTTP/2.0", ProtoMajor: 2,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          body,
		ContentLength: -1,
		Request:       r,
	}, nil
}

// watchBody is the body of a response. After its content it ends at once if it is a list.
// A watch ends when the body is closed, or ctx or the request ends.
type watchBody struct {
	content      bytes.Buffer
	isList       bool
	ctx, request context.Context
	once         sync.Once
	closed       chan struct{}
}

func (b *watchBody) Read(p []byte) (int, error) {
	if b.content.Len() > 0 {
		return b.content.Read(p)
	}
	if !b.isList {
		select {
		case <-b.closed:
		case <-b.ctx.Done():
		case <-b.request.Done():
			return 0, context.Cause(b.request)
		}
	}
	return 0, io.EOF
}

func (b *watchBody) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
