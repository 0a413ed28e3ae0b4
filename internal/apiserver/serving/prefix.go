// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"net/http"
	"net/url"
	"strings"
)

// strippedPrefix returns the path below which the handler of r is mounted, as
// http.StripPrefix does it, or "".
func strippedPrefix(r *http.Request) string {
	asked, err := url.ParseRequestURI(r.RequestURI)
	if err != nil {
		return ""
	}
	prefix, ok := strings.CutSuffix(asked.Path, r.URL.Path)
	if !ok || !strings.HasPrefix(prefix, "/") {
		return ""
	}
	return (&url.URL{Path: strings.TrimSuffix(prefix, "/")}).EscapedPath()
}

// WriteHeader adds the prefix to a redirect. The API server, its proxies of pods and
// Services, and handlers redirect to paths from the root, and see none of the prefix.
func (w *mountedWriter) WriteHeader(status int) {
	const location = "Location"
	header := w.Header()
	if to := header.Get(location); w.prefix != "" && strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//") {
		header.Set(location, w.prefix+to)
	}
	w.ResponseWriter.WriteHeader(status)
}
