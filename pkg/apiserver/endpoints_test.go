package apiserver_test

import (
	"net/http"
	"testing"
)

func TestVersion(t *testing.T) {
	p := sharedPlane(t)
	p.get(t, "/version").want(t, http.StatusOK)
}
