package etcd

import (
	"errors"
	"net/url"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Remote says how to reach an etcd elsewhere.
type Remote struct {
	// Endpoints are client URLs, all http or all https. Required.
	Endpoints []string
	// CA, Cert and Key are PEM files for https.
	CA, Cert, Key string
	// Logger receives the client's log. If nil, nothing is logged.
	Logger *zap.Logger
}

// Validate reports every problem of r in one error that names the fields.
func (r Remote) Validate() error {
	return r.ValidateFields(nil).ToAggregate()
}

// ValidateFields is Validate for callers whose fields are at a path.
func (r Remote) ValidateFields(at *field.Path) (errs field.ErrorList) {
	if len(r.Endpoints) == 0 {
		errs = append(errs, field.Required(at.Child("Endpoints"), "the client URLs of etcd"))
	}
	for i, endpoint := range r.Endpoints {
		u, err := url.Parse(endpoint)
		if err == nil && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
			err = errors.New("no scheme or host")
		}
		if err != nil {
			errs = append(errs, field.Invalid(at.Child("Endpoints").Index(i), endpoint, `must be a URL like "https://10.0.0.1:2379"`))
		}
	}
	return errs
}
