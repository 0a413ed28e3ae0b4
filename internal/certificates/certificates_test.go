package certificates

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/utils/ptr"
)

// Approving and signing are tested in pkg/controlplane, with an API server.

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLifetime(t *testing.T) {
	for _, c := range []struct {
		name    string
		config  time.Duration
		seconds *int32
		want    time.Duration
	}{
		{"not said", time.Hour, nil, time.Hour},
		{"less", time.Hour, ptr.To[int32](1800), 30 * time.Minute},
		{"more", time.Hour, ptr.To[int32](7200), time.Hour},
		{"too little", time.Hour, ptr.To[int32](60), 10 * time.Minute},
		{"configured for less than the least", time.Minute, ptr.To[int32](30), time.Minute},
	} {
		if got := (&signer{duration: c.config}).lifetime(c.seconds); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestDenialIsShort: a request has room for thousands of wrong names, and the
// answer is written beside them.
func TestDenialIsShort(t *testing.T) {
	var problems []string
	for i := range 5000 {
		problems = append(problems, fmt.Sprint("problem ", i))
	}
	v := denied("Reason", problems...)
	if v.condition != certificatesv1.CertificateDenied || !strings.Contains(v.message, "problem 9; and 4990 more") || len(v.message) > 1000 {
		t.Errorf("%+v", v)
	}
	if problems[maxProblems] != "problem 10" {
		t.Error("the problems were changed")
	}
}
