// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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

// Storages compares the storages by which upstream serves custom resources with their
// CRDs. The first request for a custom resource makes its storage. When a CRD changes, a
// handler of the informer drops the storage some time after the informer has the CRD.
// Until then the old storage serves requests. A storage that is being made, which takes
// long for a large schema, may be of the old CRD. Upstream exports neither the storages
// nor an event, so they are read by reflection.
type Storages struct {
	crds listers.CustomResourceDefinitionLister
	// making is held while a storage is made, from before the CRD is read. It is nil if
	// upstream's fields have changed.
	making *sync.Mutex
	byUID  *atomic.Value

	mu    sync.Mutex
	equal map[types.UID]storageOf // CRDs that match their storages
}

// storageOf is a CRD with the spec and names of the storage of its custom resources.
type storageOf struct {
	crd   *apiextensionsv1.CustomResourceDefinition
	spec  *apiextensionsv1.CustomResourceDefinitionSpec
	names *apiextensionsv1.CustomResourceDefinitionNames
}

// errUnknownUpstream is returned for versions of upstream whose fields this package does
// not know.
var errUnknownUpstream = errors.New("this version of k8s.io/apiextensions-apiserver does not show by which CRDs it serves custom resources " +
	"(crdHandler's customStorageLock and customStorage, crdInfo's spec and acceptedNames): use the version in the go.mod of kubembed")

// Find gets the storages from upstream's handler of custom resources. It must be called
// before the other methods. If it finds none, they return errors.
func (c *Storages) Find(paths *mux.PathRecorderMux, crds listers.CustomResourceDefinitionLister) {
	c.crds, c.equal = crds, map[types.UID]storageOf{}
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

// InForce is Current for requests. It reports true on errors, as requests are served in
// any case.
func (c *Storages) InForce() bool {
	current, err := c.Current()
	return current || err != nil
}

// Current reports whether all custom resources are served by the CRDs in the informer.
func (c *Storages) Current() (bool, error) {
	if c.making == nil {
		return false, errUnknownUpstream
	}
	if !c.making.TryLock() {
		return false, nil // The storage in progress may be of an old CRD.
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
	all, err := c.crds.List(labels.Everything())
	if err != nil {
		return false, err
	}
	current, equal := true, make(map[types.UID]storageOf, len(made))
	for _, crd := range all {
		storage, ok := made[crd.UID]
		if !ok {
			continue // The next request makes a storage of the CRD at that time.
		}
		storage.crd = crd
		// Upstream's comparison, but once for each change.
		if c.equal[crd.UID] != storage &&
			!(apiequality.Semantic.DeepEqual(&crd.Spec, storage.spec) && apiequality.Semantic.DeepEqual(&crd.Status.AcceptedNames, storage.names)) {
			current = false
			continue // Compare the others now, so that later calls need not.
		}
		equal[crd.UID] = storage
	}
	c.equal = equal
	return current, nil
}
