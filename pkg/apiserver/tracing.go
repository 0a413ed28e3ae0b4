package apiserver

import (
	"net/http"

	"k8s.io/apiserver/pkg/endpoints/filters"
	genericfeatures "k8s.io/apiserver/pkg/features"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/featuregate"
	"k8s.io/component-base/tracing"
)

// handlerChain is upstream's, with the filter of traces around the API and only
// for requests that belong to one. Spans are recorded nowhere: all that the
// filter does is to send a client's trace on, to webhooks for one. In upstream's
// place it would prepare spans and metrics for every request, a tenth of the CPU
// of a get.
func handlerChain(api http.Handler, c *genericapiserver.Config) http.Handler {
	if !c.FeatureGate.Enabled(genericfeatures.APIServerTracing) {
		return genericapiserver.DefaultBuildHandlerChain(api, c)
	}
	traced := filters.WithTracing(api, c.TracerProvider)
	headers := tracing.Propagators().Fields()
	untraced := *c
	untraced.FeatureGate = withoutTracing{c.FeatureGate}
	return genericapiserver.DefaultBuildHandlerChain(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range headers {
			if r.Header.Get(name) != "" {
				traced.ServeHTTP(w, r)
				return
			}
		}
		api.ServeHTTP(w, r)
	}), &untraced)
}

// withoutTracing keeps upstream from adding the filter itself.
type withoutTracing struct{ featuregate.FeatureGate }

func (g withoutTracing) Enabled(feature featuregate.Feature) bool {
	return feature != genericfeatures.APIServerTracing && g.FeatureGate.Enabled(feature)
}
