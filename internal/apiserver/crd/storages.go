package crd

import (
	"errors"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/server/mux"

	"github.com/kubembed/kubembed/internal/apiserver/unexported"
)

// Storages are upstream's storages of custom resources, which it does not export. The
// first request for a custom resource makes its storage. When a CRD changes, a handler of the
// informer drops the storage, some time after the informer has the CRD: until then the old one
// serves requests. A storage that is being made, which takes long for a large schema, may be
// of the CRD before the change. So the storages are compared with the CRDs.
type Storages struct {
	definitions listers.CustomResourceDefinitionLister
	// making is held while a storage is made, from before the CRD is read. It is nil if
	// upstream has other fields.
	making *sync.Mutex
	byUID  *atomic.Value

	mu    sync.Mutex
	equal map[types.UID]storageOf // CRDs and storages that agree
}

// storageOf is a CRD with the spec and names that the storage of its custom resources has.
type storageOf struct {
	crd   *apiextensionsv1.CustomResourceDefinition
	spec  *apiextensionsv1.CustomResourceDefinitionSpec
	names *apiextensionsv1.CustomResourceDefinitionNames
}

// errUnknownUpstream is for a version of upstream that this package does not know.
var errUnknownUpstream = errors.New("this version of k8s.io/apiextensions-apiserver does not show by which CRDs it serves custom resources " +
	"(crdHandler's customStorageLock and customStorage, crdInfo's spec and acceptedNames): use the version in the go.mod of kubembed")

// Find takes the storages from the handler of custom resources.
func (c *Storages) Find(paths *mux.PathRecorderMux, definitions listers.CustomResourceDefinitionLister) {
	c.definitions, c.equal = definitions, map[types.UID]storageOf{}
	handlers := unexported.Field[map[string]http.Handler](reflect.ValueOf(paths).Elem(), "pathToHandler")
	if handlers == nil {
		return
	}
	handler := reflect.ValueOf((*handlers)["/apis"])
	if handler.Kind() != reflect.Pointer {
		return
	}
	making, byUID := unexported.Field[sync.Mutex](handler.Elem(), "customStorageLock"), unexported.Field[atomic.Value](handler.Elem(), "customStorage")
	if making != nil && byUID != nil {
		c.making, c.byUID = making, byUID
	}
}

// InForce is current for requests, which are served all the same.
func (c *Storages) InForce() bool {
	current, err := c.Current()
	return current || err != nil
}

// Current reports whether all custom resources are served by the CRDs that the informer has.
func (c *Storages) Current() (bool, error) {
	if c.making == nil {
		return false, errUnknownUpstream
	}
	if !c.making.TryLock() {
		return false, nil // by a CRD that may have changed since
	}
	storages := reflect.ValueOf(c.byUID.Load())
	c.making.Unlock()
	if storages.Kind() != reflect.Map || storages.Type().Elem().Kind() != reflect.Pointer {
		return false, errUnknownUpstream
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	made := map[types.UID]storageOf{}
	for each := storages.MapRange(); each.Next(); {
		info := each.Value().Elem()
		spec, names := unexported.Field[*apiextensionsv1.CustomResourceDefinitionSpec](info, "spec"), unexported.Field[*apiextensionsv1.CustomResourceDefinitionNames](info, "acceptedNames")
		if spec == nil || names == nil {
			return false, errUnknownUpstream
		}
		made[types.UID(each.Key().String())] = storageOf{spec: *spec, names: *names}
	}
	if len(made) == 0 {
		return true, nil
	}
	crds, err := c.definitions.List(labels.Everything())
	if err != nil {
		return false, err
	}
	current, equal := true, make(map[types.UID]storageOf, len(made))
	for _, crd := range crds {
		storage, ok := made[crd.UID]
		if !ok {
			continue // The next request is served by the CRD of that time.
		}
		storage.crd = crd
		// As upstream compares them, but once.
		if c.equal[crd.UID] != storage &&
			!(apiequality.Semantic.DeepEqual(&crd.Spec, storage.spec) && apiequality.Semantic.DeepEqual(&crd.Status.AcceptedNames, storage.names)) {
			current = false
			continue // The others are compared now, and not again each time while this one is old.
		}
		equal[crd.UID] = storage
	}
	c.equal = equal
	return current, nil
}
