// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// Pods, nodes, services and aggregated API servers create some responses, under the
// address of the API server. A browser would attribute their pages to the API server, and
// let scripts act with all permissions of the user.

// sandboxPolicy makes browsers show a page without an origin, scripts and forms. A page
// can add a policy, but not weaken this one: browsers apply all policies of a response.
const sandboxPolicy = "sandbox"

// withheld are headers that apply to the whole origin, which is the API server's, or to
// the host that it shares with others.
var withheld = []string{
	"Alt-Svc",
	"Clear-Site-Data",
	"Nel",
	"Origin-Agent-Cluster",
	"Report-To",
	"Reporting-Endpoints",
	"Service-Worker-Allowed",
	"Set-Cookie",
	"Strict-Transport-Security",
}

// OthersAnswer reports whether a pod, a node, a service or an aggregated API server may
// create the response. It is also true for a few other responses, which get two more
// headers.
func OthersAnswer(path string) bool {
	// /api/v1/namespaces/NAMESPACE/pods/NAME/proxy, log and the like.
	if strings.Contains(path, "/proxy") || strings.Contains(path, "/log") {
		return true
	}
	// /apis/GROUP of an aggregated API server, or of custom resources.
	rest, ok := strings.CutPrefix(path, "/apis/")
	group, _, _ := strings.Cut(rest, "/")
	return ok && group != "" && !legacyscheme.Scheme.IsGroupRegistered(group)
}

// Sandboxed returns the writer for a response that a pod, a node, a service or an
// aggregated API server may create.
func Sandboxed(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	return responsewriter.WrapForHTTP1Or2(&sandbox{ResponseWriter: w, browser: browser(r)})
}

// sandbox adds its headers last: an informational response (1xx) that a proxy forwards
// clears the headers before it.
type sandbox struct {
	http.ResponseWriter
	browser bool
	done    bool
}

func (s *sandbox) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *sandbox) WriteHeader(code int) {
	if code >= http.StatusOK {
		s.headers()
	} else {
		s.withhold()
	}
	s.ResponseWriter.WriteHeader(code)
}

func (s *sandbox) Write(data []byte) (int, error) {
	s.headers()
	return s.ResponseWriter.Write(data)
}

func (s *sandbox) Flush() {
	s.headers()
	_ = http.NewResponseController(s.ResponseWriter).Flush()
}

func (s *sandbox) headers() {
	if s.done {
		return
	}
	s.done = true
	s.withhold()
	header := s.Header()
	// A separate header line, not part of the page's.
	header["Content-Security-Policy"] = append([]string{sandboxPolicy}, header["Content-Security-Policy"]...)
	header.Set("X-Content-Type-Options", "nosniff")
}

func (s *sandbox) withhold() {
	if s.browser {
		for _, name := range withheld {
			delete(s.Header(), name)
		}
	}
}

// paths parses paths like the handler chain.
var paths = genericapirequest.RequestInfoFactory{
	APIPrefixes:          sets.NewString("api", "apis"),
	GrouplessAPIPrefixes: sets.NewString("api"),
}

// proxies reports whether the request goes to a pod, a service or a node.
func proxies(r *http.Request) bool {
	info, err := paths.NewRequestInfo(r)
	return err != nil || info.IsResourceRequest && (info.Subresource == "proxy" || info.Verb == "proxy")
}

// browser reports whether a browser sent the request. Browsers send headers that scripts
// cannot change, but not all of these headers to every address.
func browser(r *http.Request) bool {
	for name := range r.Header {
		if strings.HasPrefix(name, "Sec-Fetch-") || strings.HasPrefix(name, "Sec-Ch-Ua") {
			return true
		}
		switch name {
		case "Origin", "Referer", "Upgrade-Insecure-Requests", "Service-Worker":
			return true
		}
	}
	return strings.HasPrefix(r.UserAgent(), "Mozilla/") || strings.HasPrefix(r.UserAgent(), "Opera/")
}

const noProxyForBrowsers = "the proxy of pods, services and nodes is refused to browsers without authentication, because a proxied page would act as an administrator: " +
	"use kubectl port-forward, or the HTTPS listener"
