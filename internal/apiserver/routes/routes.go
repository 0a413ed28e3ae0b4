// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package routes shares the routes of the built-in APIs among the control planes of a
// process. Upstream's installer makes 1,200 of them for each server. All but the
// functions of a route are the same every time: the regular expression of the path, and
// the documentation from which the OpenAPI documents are built.
package routes

import (
	"maps"
	"reflect"
	"slices"
	"sync"

	restful "github.com/emicklei/go-restful/v3"
)

// Share replaces everything but the functions of the routes in container by that of the
// first equal routes in the process. Nothing changes routes after they are installed.
// Call it before the container serves.
func Share(container *restful.Container) {
	process.mu.Lock()
	defer process.mu.Unlock()
	for _, service := range container.RegisteredWebServices() {
		// Not a copy: upstream's web services have no dynamic routes.
		for i, routes := 0, service.Routes(); i < len(routes); i++ {
			process.share(&routes[i])
		}
	}
}

var process table

// table has the first route of each kind, without functions.
type table struct {
	mu     sync.Mutex
	routes map[key][]restful.Route // more than one if feature gates change the documentation
}

type key struct{ method, path string }

func (t *table) share(route *restful.Route) {
	k := key{route.Method, route.Path}
	i := slices.IndexFunc(t.routes[k], func(first restful.Route) bool { return equal(&first, route) })
	if i < 0 {
		first := *route
		first.Function, first.Filters, first.If = nil, nil, nil
		if t.routes == nil {
			t.routes = map[key][]restful.Route{}
		}
		t.routes[k] = append(t.routes[k], first)
		return
	}
	function, filters, conditions := route.Function, route.Filters, route.If
	*route = t.routes[k][i]
	route.Function, route.Filters, route.If = function, filters, conditions
}

// equal compares the documentation of routes with the same method and path. The OpenAPI
// documents depend only on the types of samples. Upstream's installer sets neither the
// encoding of a route's content nor its methods without a content type.
func equal(a, b *restful.Route) bool {
	return a.Doc == b.Doc && a.Notes == b.Notes && a.Operation == b.Operation && a.Deprecated == b.Deprecated &&
		slices.Equal(a.Produces, b.Produces) && slices.Equal(a.Consumes, b.Consumes) &&
		sameType(a.ReadSample, b.ReadSample) && sameType(a.WriteSample, b.WriteSample) &&
		slices.EqualFunc(a.WriteSamples, b.WriteSamples, sameType) &&
		reflect.DeepEqual(a.Metadata, b.Metadata) && reflect.DeepEqual(a.Extensions, b.Extensions) &&
		slices.EqualFunc(a.ParameterDocs, b.ParameterDocs, equalParameters) &&
		maps.EqualFunc(a.ResponseErrors, b.ResponseErrors, equalResponses) &&
		(a.DefaultResponse == nil) == (b.DefaultResponse == nil) &&
		(a.DefaultResponse == nil || equalResponses(*a.DefaultResponse, *b.DefaultResponse))
}

func sameType(a, b any) bool { return reflect.TypeOf(a) == reflect.TypeOf(b) }

// equalParameters is reflect.DeepEqual, which would take longer than all else. Upstream
// uses none of the fields that it compares last.
func equalParameters(p, q *restful.Parameter) bool {
	if p == q {
		return true
	}
	a, b := p.Data(), q.Data()
	if a.Name != b.Name || a.Kind != b.Kind || a.DataType != b.DataType || a.Description != b.Description || a.Required != b.Required {
		return false
	}
	return simple(&a) && simple(&b) && a.DataFormat == b.DataFormat && a.AllowMultiple == b.AllowMultiple &&
		a.AllowEmptyValue == b.AllowEmptyValue && a.DefaultValue == b.DefaultValue &&
		a.CollectionFormat == b.CollectionFormat && a.Pattern == b.Pattern && a.UniqueItems == b.UniqueItems ||
		reflect.DeepEqual(a, b)
}

// simple reports whether all fields that are not compared by == are empty.
func simple(d *restful.ParameterData) bool {
	return d.Extensions == nil && d.AllowableValues == nil && d.PossibleValues == nil &&
		d.Minimum == nil && d.Maximum == nil && d.MinLength == nil && d.MaxLength == nil && d.MinItems == nil && d.MaxItems == nil
}

func equalResponses(a, b restful.ResponseError) bool {
	return a.Code == b.Code && a.Message == b.Message && a.IsDefault == b.IsDefault && sameType(a.Model, b.Model) &&
		reflect.DeepEqual(a.Headers, b.Headers) && reflect.DeepEqual(a.Extensions, b.Extensions)
}
