// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package routes

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"testing"

	restful "github.com/emicklei/go-restful/v3"

	"github.com/kubembed/kubembed/internal/apiserver/unexported"
)

type object struct{ Name string }

// container has one route, which writes text.
func container(text, doc string, change ...func(*restful.RouteBuilder)) *restful.Container {
	service := new(restful.WebService).Path("/things")
	builder := service.GET("/{name}").To(func(_ *restful.Request, w *restful.Response) { _, _ = w.Write([]byte(text)) }).
		Doc(doc).Operation("readThing").Param(service.PathParameter("name", "the name")).
		Param(service.QueryParameter("pretty", "indent").DataType("string")).
		Returns(http.StatusOK, "OK", object{}).Metadata("action", "get").Produces("application/json").Writes(object{})
	for _, f := range change {
		f(builder)
	}
	service.Route(builder)
	c := restful.NewContainer()
	c.Router(restful.CurlyRouter{})
	return c.Add(service)
}

func onlyRoute(c *restful.Container) *restful.Route {
	return &c.RegisteredWebServices()[0].Routes()[0]
}

// expression is the address of a route's regular expression.
func expression(t *testing.T, r *restful.Route) uintptr {
	t.Helper()
	path := reflect.ValueOf(r).Elem().FieldByName("pathExpr")
	if !path.IsValid() || path.Kind() != reflect.Pointer {
		t.Fatal("a route has no pathExpr")
	}
	return path.Pointer()
}

func answer(c *restful.Container) string {
	w := httptest.NewRecorder()
	c.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/things/one", nil))
	return w.Body.String()
}

// TestShare: equal routes share all but their functions, and each still serves.
func TestShare(t *testing.T) {
	first, second := container("first", "read"), container("second", "read")
	Share(first)
	Share(second)
	a, b := onlyRoute(first), onlyRoute(second)
	if expression(t, a) != expression(t, b) || a.ParameterDocs[0] != b.ParameterDocs[0] {
		t.Error("equal routes share nothing")
	}
	if answer(first) != "first" || answer(second) != "second" {
		t.Errorf("got %q and %q, want each its own function", answer(first), answer(second))
	}
	for _, routes := range process.routes {
		for _, route := range routes {
			if route.Function != nil || route.Filters != nil || route.If != nil {
				t.Error("the table keeps the function of a server")
			}
		}
	}
}

// TestDifferentRoutes: a route with other documentation keeps its own.
func TestDifferentRoutes(t *testing.T) {
	Share(container("", "read"))
	for name, other := range map[string]*restful.Container{
		"doc":           container("", "read a thing"),
		"notes":         container("", "read", func(b *restful.RouteBuilder) { b.Notes("more") }),
		"operation":     container("", "read", func(b *restful.RouteBuilder) { b.Operation("other") }),
		"deprecated":    container("", "read", func(b *restful.RouteBuilder) { b.Deprecate() }),
		"produces":      container("", "read", func(b *restful.RouteBuilder) { b.Produces("text/plain") }),
		"consumes":      container("", "read", func(b *restful.RouteBuilder) { b.Consumes("text/plain") }),
		"read sample":   container("", "read", func(b *restful.RouteBuilder) { b.Reads(object{}) }),
		"write sample":  container("", "read", func(b *restful.RouteBuilder) { b.Writes(1) }),
		"write samples": container("", "read", func(b *restful.RouteBuilder) { b.Writes(object{}, 1) }),
		"metadata":      container("", "read", func(b *restful.RouteBuilder) { b.Metadata("action", "list") }),
		"extension":     container("", "read", func(b *restful.RouteBuilder) { b.AddExtension("x-of", "one") }),
		"parameters":    container("", "read", func(b *restful.RouteBuilder) { b.Param(restful.QueryParameter("limit", "")) }),
		"code":          container("", "read", func(b *restful.RouteBuilder) { b.Returns(http.StatusCreated, "OK", object{}) }),
		"message":       container("", "read", func(b *restful.RouteBuilder) { b.Returns(http.StatusOK, "fine", object{}) }),
		"model":         container("", "read", func(b *restful.RouteBuilder) { b.Returns(http.StatusOK, "OK", 1) }),
		"default":       container("", "read", func(b *restful.RouteBuilder) { b.DefaultReturns("OK", object{}) }),
	} {
		before := *onlyRoute(other)
		Share(other)
		after := onlyRoute(other)
		if expression(t, &before) != expression(t, after) || after.Doc != before.Doc {
			t.Errorf("%s: the route has changed", name)
		}
	}
}

func TestEqualParameters(t *testing.T) {
	parameter := func() *restful.Parameter { return restful.QueryParameter("limit", "how many").DataType("integer") }
	if !equalParameters(parameter(), parameter()) {
		t.Error("equal parameters differ")
	}
	one := int64(1)
	half := 0.5
	for name, other := range map[string]*restful.Parameter{
		"name":              restful.QueryParameter("other", "how many").DataType("integer"),
		"kind":              restful.HeaderParameter("limit", "how many").DataType("integer"),
		"description":       restful.QueryParameter("limit", "most").DataType("integer"),
		"type":              parameter().DataType("string"),
		"format":            parameter().DataFormat("int64"),
		"required":          parameter().Required(true),
		"multiple":          parameter().AllowMultiple(true),
		"empty":             parameter().AllowEmptyValue(true),
		"default":           parameter().DefaultValue("1"),
		"collection format": parameter().CollectionFormat(restful.CollectionFormatSSV),
		"pattern":           parameter().Pattern("[0-9]"),
		"unique":            parameter().UniqueItems(true),
		"values":            parameter().PossibleValues([]string{"1"}),
		"allowable values":  parameter().AllowableValues(map[string]string{"1": "one"}),
		"minimum":           parameter().Minimum(half),
		"maximum":           parameter().Maximum(half),
		"shortest":          parameter().MinLength(one),
		"longest":           parameter().MaxLength(one),
		"fewest":            parameter().MinItems(one),
		"most":              parameter().MaxItems(one),
		"extension":         parameter().AddExtension("x-of", "one"),
	} {
		if equalParameters(parameter(), other) || equalParameters(other, parameter()) {
			t.Errorf("%s: different parameters are equal", name)
		}
	}
}

// TestUpstream fails when go-restful adds a field that a route could differ in.
func TestUpstream(t *testing.T) {
	fields := func(typ reflect.Type) (names []string) {
		for field := range typ.Fields() {
			names = append(names, field.Name)
		}
		return names
	}
	for _, c := range []struct {
		of   reflect.Type
		want []string
	}{
		{reflect.TypeFor[restful.Route](), []string{
			"ExtensionProperties", "Method", "Produces", "Consumes", "Path", "Function", "Filters", "If",
			"relativePath", "pathParts", "pathExpr", "Doc", "Notes", "Operation", "ParameterDocs", "ResponseErrors", "DefaultResponse",
			"ReadSample", "WriteSample", "WriteSamples", "Metadata", "Deprecated", "contentEncodingEnabled", "hasCustomVerb", "allowedMethodsWithoutContentType",
		}},
		{reflect.TypeFor[restful.ParameterData](), []string{
			"ExtensionProperties", "Name", "Description", "DataType", "DataFormat", "Kind", "Required", "AllowableValues", "PossibleValues",
			"AllowMultiple", "AllowEmptyValue", "DefaultValue", "CollectionFormat", "Pattern",
			"Minimum", "Maximum", "MinLength", "MaxLength", "MinItems", "MaxItems", "UniqueItems",
		}},
		{reflect.TypeFor[restful.ResponseError](), []string{"ExtensionProperties", "Code", "Message", "Model", "Headers", "IsDefault"}},
		{reflect.TypeFor[restful.ExtensionProperties](), []string{"Extensions"}},
	} {
		if got := fields(c.of); !slices.Equal(got, c.want) {
			t.Errorf("%s has the fields %q, want %q: does equal compare all of them?", c.of, got, c.want)
		}
	}
	service := reflect.ValueOf(onlyService(container("", "")))
	if dynamic := unexported.Field[bool](service.Elem(), "dynamicRoutes"); dynamic == nil || *dynamic {
		t.Error("a web service has dynamic routes, of which Routes returns a copy")
	}
}

func onlyService(c *restful.Container) *restful.WebService { return c.RegisteredWebServices()[0] }
