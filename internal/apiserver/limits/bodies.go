// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package limits bounds what requests may cost: the memory of their bodies, what clients
// of few permissions may store, and how many watches they may have open.
package limits

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversionscheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"github.com/kubembed/kubembed/internal/apiserver/serving"
	"github.com/kubembed/kubembed/internal/storage"
	"github.com/kubembed/kubembed/internal/wire"
)

// Limits reads and measures the body of every write before upstream decodes it. Upstream
// trusts bodies: a few hundred kilobytes overflow the stack, which ends the process, or
// take gigabytes. It also bounds what clients of few permissions may store, and how many
// watches they may have open. It comes after authentication, authorization, and priority
// and fairness: clients that may not write are refused with the body unread.
type Limits struct {
	options Options
	memory  *bodyMemory
	storage *storageBudget
	watches watchBudget

	types  wire.Types
	shapes sync.Map // schema.GroupVersionKind → *wire.Shape
}

const (
	// MaxPatchOperations is upstream's limit, which is not configurable.
	MaxPatchOperations = 10_000
	// pointerDepth bounds the depth of a path in a JSON patch. Otherwise each "copy"
	// operation could make the object deeper by the depth of the patch.
	pointerDepth = 512
	// maxPatchedElements bounds the elements of a list in a strategic merge patch.
	// Upstream searches the whole existing list for each: 10,000 conditions of a node
	// take a minute of CPU time, whether the client waits or not.
	maxPatchedElements = 1000
	// JSONPatchCopyBytes bounds the sum of the "copy" operations of a patch.
	// Upstream's limit is 3 MiB, which are a million elements.
	JSONPatchCopyBytes = 256 << 10
)

// schemes have all types of protobuf bodies.
var schemes = []*runtime.Scheme{legacyscheme.Scheme, apiextensionsapiserver.Scheme, aggregatorscheme.Scheme, metainternalversionscheme.Scheme}

// Options are the limits that a host may change.
type Options struct {
	// MaxBody is the largest size of a body in bytes. If zero, DefaultMaxBody.
	MaxBody int64
	// MaxPatchOperations is the largest number of operations in a JSON patch. If zero,
	// MaxPatchOperations.
	MaxPatchOperations int
	// Used returns how many bytes of etcd are in use, and its quota. If nil, unknown.
	Used func() (inUse, quota int64)
	// Elsewhere are the resources in other etcds, about which Used says nothing. Writes
	// of them have budgets of their own.
	Elsewhere []schema.GroupResource
}

// New returns the limits of a server.
func New(options Options) *Limits {
	if options.MaxBody == 0 {
		options.MaxBody = DefaultMaxBody
	}
	if options.MaxPatchOperations == 0 {
		options.MaxPatchOperations = MaxPatchOperations
	}
	return &Limits{options: options, memory: newBodyMemory(options.MaxBody), storage: newStorageBudget(options)}
}

// Filter returns a handler that applies the limits to requests to next, which decodes
// their bodies. Aggregated API servers have their own limits.
func (b *Limits) Filter(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := request.RequestInfoFrom(r.Context())
		if ok && info.Verb == "watch" && !mayWrite(r.Method) {
			b.watch(w, r, info, next)
			return
		}
		if !ok || !info.IsResourceRequest || !mayWrite(r.Method) || serving.Streams(info.Subresource) {
			next.ServeHTTP(w, r)
			return
		}
		release, err := b.admit(r, info)
		if err != nil {
			refuse(w, r, info, err)
			return
		}
		if release != nil {
			defer release()
		}
		if charge := b.storage.charge(requesterOf(r.Context()), info, r.Method); charge != nil {
			r = r.WithContext(storage.WithCharge(r.Context(), charge))
		}
		next.ServeHTTP(w, r)
	})
}

// watch serves a watch unless the client has too many.
func (b *Limits) watch(w http.ResponseWriter, r *http.Request, info *request.RequestInfo, next http.Handler) {
	end, err := b.watches.begin(requesterOf(r.Context()))
	if err != nil {
		refuse(w, r, info, err)
		return
	}
	defer end()
	next.ServeHTTP(w, r)
}

func refuse(w http.ResponseWriter, r *http.Request, info *request.RequestInfo, err error) {
	gv := schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}
	responsewriters.ErrorNegotiated(err, legacyscheme.Codecs, gv, w, r)
}

// FilterGroup is Filter for one API group.
func (b *Limits) FilterGroup(group string, next http.Handler) http.Handler {
	filtered := b.Filter(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if info, ok := request.RequestInfoFrom(r.Context()); ok && info.APIGroup == group {
			filtered.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func mayWrite(method string) bool {
	switch method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return true
	}
	return false
}

// admit reads the body, and replaces it by the bytes. The caller calls release, which may
// be nil, when the request is done.
func (b *Limits) admit(r *http.Request, info *request.RequestInfo) (release func(), err error) {
	who := requesterOf(r.Context())
	limit := who.bodyLimit(info, r.Method, b.options.MaxBody)
	body, err := readBody(r, limit)
	if err != nil {
		return nil, err
	}
	var held releases
	defer func() {
		if err != nil {
			held.release()
		}
	}()
	limits, parsing := who.costLimit(info, b.options.MaxBody), int64(0)
	if isYAML(mediaType(r)) {
		// Only a parser can measure it.
		if parsing, err = wire.Parsing(body); err != nil {
			return nil, bodyRefusal(err)
		}
		if err := b.memory.acquire(r.Context(), who, parsing, &held); err != nil {
			return nil, err
		}
	}
	cost, err := b.measure(r, info, body, limits)
	if err != nil {
		return nil, bodyRefusal(err)
	}
	if err := b.storage.admit(who, info, r.Method, len(body)); err != nil {
		return nil, err
	}
	if err := b.memory.acquire(r.Context(), who, cost.Bytes+cost.Nested-parsing, &held); err != nil {
		return nil, err
	}
	if held == nil {
		return nil, nil
	}
	return held.release, nil
}

// bodyRefusal returns the error for a body that is rejected.
func bodyRefusal(err error) error {
	e := (*wire.Error)(nil)
	switch {
	case !errors.As(err, &e):
		return err
	case e.TooLarge:
		return apierrors.NewRequestEntityTooLargeError(e.Error())
	default:
		return apierrors.NewBadRequest(e.Error())
	}
}

// readBody reads at most limit bytes. The next reader of r.Body gets an error of the
// connection.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	tooLarge := func() error {
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", limit))
	}
	if r.ContentLength > limit {
		return nil, tooLarge()
	}
	var buffer bytes.Buffer
	if r.ContentLength > 0 {
		buffer.Grow(int(r.ContentLength) + bytes.MinRead) // otherwise it grows once more at EOF
	}
	_, err := buffer.ReadFrom(io.LimitReader(r.Body, limit+1))
	body := buffer.Bytes()
	if int64(len(body)) > limit {
		return nil, tooLarge()
	}
	rest := io.Reader(bytes.NewReader(body))
	if err != nil {
		rest = io.MultiReader(rest, failedReader{err}) // upstream returns it to the client
	}
	r.Body = &readAhead{Reader: rest, Closer: r.Body}
	return body, nil
}

// readAhead is a body that has been read.
type readAhead struct {
	io.Reader
	io.Closer
}

// failedReader returns the error that ended the read of the body.
type failedReader struct{ err error }

func (f failedReader) Read([]byte) (int, error) { return 0, f.err }

func isYAML(mediaType string) bool {
	return mediaType == runtime.ContentTypeYAML || mediaType == string(types.ApplyYAMLPatchType)
}

func (b *Limits) measure(r *http.Request, info *request.RequestInfo, body []byte, limits wire.Limits) (wire.Cost, error) {
	if len(body) == 0 {
		return wire.Cost{}, nil
	}
	sizes := wire.Untyped
	if r.Method == http.MethodDelete || info.Subresource == "scale" || builtinGroup(info.APIGroup) {
		sizes = wire.Typed
	}
	switch mediaType(r) {
	case runtime.ContentTypeProtobuf:
		return b.protobuf(body, limits)
	case runtime.ContentTypeYAML, string(types.ApplyYAMLPatchType):
		return wire.YAML(body, sizes, limits)
	case runtime.ContentTypeCBOR, string(types.ApplyCBORPatchType):
		return wire.CBOR(body, sizes, limits)
	case string(types.JSONPatchType):
		cost, err := wire.JSON(body, sizes, limits)
		if err == nil {
			err = b.checkPatch(body)
		}
		return cost, err
	case string(types.StrategicMergePatchType):
		cost, err := wire.JSON(body, sizes, limits)
		if n := wire.LongestList(body); err == nil && n > maxPatchedElements {
			err = apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("a list of the strategic merge patch has %d elements, and %d is the limit: use server-side apply, a JSON patch, or an update", n, maxPatchedElements))
		}
		return cost, err
	default: // JSON, other patches, and types that upstream rejects
		return wire.JSON(body, sizes, limits)
	}
}

func mediaType(r *http.Request) string {
	header := r.Header.Get("Content-Type")
	switch header { // the most frequent types, without an allocation
	case runtime.ContentTypeJSON, runtime.ContentTypeProtobuf:
		return header
	}
	if r.Method == http.MethodPatch {
		header, _, _ = strings.Cut(header, ";")
		return header
	}
	parsed, _, err := mime.ParseMediaType(header)
	if err != nil {
		return header
	}
	return parsed
}

// builtinGroup reports whether upstream decodes bodies for a group into Go types.
func builtinGroup(group string) bool {
	return slices.ContainsFunc(schemes, func(s *runtime.Scheme) bool { return s.IsGroupRegistered(group) })
}

func (b *Limits) protobuf(body []byte, limits wire.Limits) (wire.Cost, error) {
	envelope, err := wire.Open(body)
	if err != nil {
		return wire.Cost{}, err
	}
	shape, err := b.shape(envelope.APIVersion, envelope.Kind)
	if err != nil {
		return wire.Cost{}, err
	}
	return wire.Protobuf(envelope.Message, shape, limits)
}

// shape returns the shape of the type that the decoder creates. A body must name the
// type: otherwise the decoder derives it from the resource.
func (b *Limits) shape(apiVersion, kind string) (*wire.Shape, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil || gv.Version == "" || kind == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("a protobuf body must have an apiVersion and a kind, but has %q and %q", apiVersion, kind))
	}
	gvk := gv.WithKind(kind)
	if known, ok := b.shapes.Load(gvk); ok {
		return known.(*wire.Shape), nil
	}
	typ, ok := goType(gvk)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("no kind %q is known for version %q, or not in protobuf", kind, apiVersion))
	}
	shape := b.types.Of(typ)
	b.shapes.Store(gvk, shape)
	return shape, nil
}

func goType(gvk schema.GroupVersionKind) (reflect.Type, bool) {
	for _, scheme := range schemes {
		if typ, ok := scheme.AllKnownTypes()[gvk]; ok {
			return typ, true
		}
	}
	if gvk.Kind == "DeleteOptions" { // also for custom resources
		return reflect.TypeFor[metav1.DeleteOptions](), true
	}
	return nil, false
}

// checkPatch rejects a JSON patch with too many operations, or a path that is too deep.
func (b *Limits) checkPatch(body []byte) error {
	if len(body) <= min(pointerDepth, b.options.MaxPatchOperations) {
		return nil
	}
	patch, err := jsonpatch.DecodePatch(body)
	if err != nil {
		return nil //nolint:nilerr // upstream reports it
	}
	if n := len(patch); n > b.options.MaxPatchOperations {
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("the JSON patch has %d operations, and %d is the limit", n, b.options.MaxPatchOperations))
	}
	for i, operation := range patch {
		path, _ := operation.Path()
		from, _ := operation.From()
		if strings.Count(path, "/") > pointerDepth || strings.Count(from, "/") > pointerDepth {
			return apierrors.NewBadRequest(fmt.Sprintf("operation %d of the JSON patch has a path of more than %d elements", i, pointerDepth))
		}
	}
	return nil
}
