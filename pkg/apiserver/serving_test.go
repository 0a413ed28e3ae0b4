// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/pki"
)

// foreign is the certificate of a host, from a CA of its own.
type foreign struct {
	bundle            []byte // of the CA
	certFile, keyFile string
	pki               *pki.PKI
}

func newForeign(t testing.TB, hosts ...string) foreign {
	t.Helper()
	ca, err := pki.Open(pki.Config{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f := foreign{bundle: ca.CABundle(), certFile: filepath.Join(dir, "tls.crt"), keyFile: filepath.Join(dir, "tls.key"), pki: ca}
	f.renew(t, hosts...)
	return f
}

// renew writes another certificate.
func (f foreign) renew(t testing.TB, hosts ...string) {
	t.Helper()
	pair, err := f.pki.IssueServing(hosts, 0)
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{f.certFile: pair.Cert, f.keyFile: pair.Key} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// client is a configuration that verifies with the host's CA.
func (f foreign) client(p *plane, serverName string) *rest.Config {
	c := p.anonymous()
	c.CAData, c.ServerName = f.bundle, serverName
	return c
}

func version(c *rest.Config) error {
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		return err
	}
	_, err = client.Discovery().ServerVersion()
	return err
}

// TestCertificateOfTheHost: clients that trust its CA connect, also after a renewal, and
// clients that trust PKI's CA still do.
func TestCertificateOfTheHost(t *testing.T) {
	host := newForeign(t, "api.example.com", "127.0.0.1")
	p := startPlane(t, func(c *apiserver.Config) {
		c.Serving.CertFile, c.Serving.KeyFile = host.certFile, host.keyFile
	})
	for _, name := range []string{"", "api.example.com"} {
		if err := version(host.client(p, name)); err != nil {
			t.Errorf("with the host's CA, for %q: %v", name, err)
		}
	}
	withPKI := p.anonymous()
	if err := version(withPKI); !contains(err, "unknown authority") {
		t.Errorf("with PKI's CA at an address of the host's certificate: got %v", err)
	}
	withPKI.ServerName = p.ServerName()
	if err := version(withPKI); err != nil {
		t.Errorf("with PKI's CA, for %q: %v", withPKI.ServerName, err)
	}
	// Over TLS, with the configuration of this process.
	overTLS := p.ClientConfig()
	overTLS.WrapTransport = nil
	if err := version(overTLS); err != nil {
		t.Errorf("ClientConfig: %v", err)
	}
	host.renew(t, "renewed.example.com")
	testwait.Until(t, "the renewed certificate", func(context.Context) error { return version(host.client(p, "renewed.example.com")) })
}

// TestMetricsOfAServer: /metrics has requests and reloads of certificates by server. A
// stopped server has none.
func TestMetricsOfAServer(t *testing.T) {
	host := newForeign(t, "api.example.com")
	p, err := newPlane(t.TempDir(), func(c *apiserver.Config) { c.Serving.CertFile, c.Serving.KeyFile = host.certFile, host.keyFile })
	if err != nil {
		t.Fatal(err)
	}
	other := startPlane(t)
	host.renew(t, "renewed.example.com")
	label := fmt.Sprintf("control_plane=%q", strings.TrimPrefix(p.URL(), "https://"))
	testwait.Until(t, "the metrics of the server", func(context.Context) error {
		metrics := p.get(t, "/metrics").body
		for _, metric := range []string{
			"kubembed_requests_total{" + label + "}", "kubembed_requests_in_flight{" + label + "}",
			"kubembed_serving_certificate_reloads_total{" + label + `,status="success"} 1`,
		} {
			if strings.Count(metrics, metric) != 1 {
				return fmt.Errorf("%s is there %d times", metric, strings.Count(metrics, metric))
			}
		}
		return nil
	})
	if err := p.close(); err != nil {
		t.Error(err)
	}
	if metrics := other.get(t, "/metrics").body; strings.Contains(metrics, label) || !strings.Contains(metrics, "kubembed_requests_total{") {
		t.Errorf("after the stop the metrics of another server have %s, or not its own", label)
	}
}

// TestCertificateThatKubeletsDoNotTrust: the log warns of it before they join.
func TestCertificateThatKubeletsDoNotTrust(t *testing.T) {
	const advertised = "192.0.2.1"
	for name, test := range map[string]struct {
		advertised, address string // address is in the certificate
		roots               bool
		want                int
	}{
		"advertised address":            {advertised, advertised, false, 1},
		"advertised address, with CAs":  {advertised, advertised, true, 0},
		"another address, without CAs":  {advertised, "192.0.2.2", false, 0},
		"loopback address, without CAs": {advertised, "127.0.0.1", false, 0},
		"loopback advertised":           {"127.0.0.1", "127.0.0.1", false, 1}, // for a kubelet of this machine
	} {
		host := newForeign(t, "api.example.com", test.address)
		core, logs := observer.New(zap.WarnLevel)
		startPlane(t, func(c *apiserver.Config) {
			c.AdvertiseAddress, c.Logger = net.ParseIP(test.advertised), zap.New(core)
			c.Serving.CertFile, c.Serving.KeyFile = host.certFile, host.keyFile
			if test.roots {
				c.Serving.RootCAs = host.bundle
			}
		})
		if got := logs.FilterField(zap.String("field", "Config.Serving.RootCAs")).Len(); got != test.want {
			t.Errorf("%s: %d warnings, want %d", name, got, test.want)
		}
	}
}

// TestTLSSettings: versions, cipher suites and protocols.
func TestTLSSettings(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) {
		c.Serving = apiserver.Serving{
			CipherSuites:                 []string{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
			CurvePreferences:             []tls.CurveID{tls.CurveP256},
			HTTP2MaxStreamsPerConnection: 7,
			HSTSDirectives:               []string{"max-age=31536000", "includeSubDomains"},
			CORSAllowedOrigins:           []string{`^https://console[.]example[.]com$`},
		}
	})
	dial := func(c *tls.Config) (tls.ConnectionState, error) {
		c.RootCAs = x509.NewCertPool()
		c.RootCAs.AppendCertsFromPEM(p.pki.CABundle())
		conn, err := (&tls.Dialer{Config: c}).DialContext(t.Context(), "tcp", strings.TrimPrefix(p.URL(), "https://"))
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer func() { _ = conn.Close() }()
		return conn.(*tls.Conn).ConnectionState(), nil
	}
	state, err := dial(&tls.Config{MaxVersion: tls.VersionTLS12, MinVersion: tls.VersionTLS12})
	if err != nil || state.CipherSuite != tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 {
		t.Errorf("got %v, %v", tls.CipherSuiteName(state.CipherSuite), err)
	}
	if _, err := dial(&tls.Config{MaxVersion: tls.VersionTLS12, MinVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}}); err == nil {
		t.Error("another cipher suite is accepted")
	}
	if _, err := dial(&tls.Config{MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}}); err == nil {
		t.Error("another curve is accepted")
	}
	if _, err := dial(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil { //nolint:gosec // refused
		t.Error("TLS 1.1 is accepted")
	}
	client := p.httpClient(t, pki.KeyPair{})
	answer := p.call(t, client, http.MethodGet, "/version", "", "Origin: https://console.example.com").want(t, http.StatusOK)
	if got := answer.header.Get("Strict-Transport-Security"); got != "max-age=31536000; includeSubDomains" {
		t.Errorf("Strict-Transport-Security: %q", got)
	}
	if got := answer.header.Get("Access-Control-Allow-Origin"); got != "https://console.example.com" {
		t.Errorf("Access-Control-Allow-Origin: %q", got)
	}
	answer = p.call(t, client, http.MethodGet, "/version", "", "Origin: https://console.example.com.attacker.example").want(t, http.StatusOK)
	if got := answer.header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("another origin: Access-Control-Allow-Origin: %q", got)
	}
}

// TestGoaway: with a chance of one in fifty, some of many requests end their connection.
func TestGoaway(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) { c.Serving.GoawayChance = 0.02 })
	dials := 0
	config := p.as(t, "admin", "system:masters")
	config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials++
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	client := clientset(t, config)
	for range 2000 { // none with a probability of 3e-18
		if _, err := client.Discovery().ServerVersion(); err != nil {
			t.Fatal(err)
		}
	}
	if dials < 2 {
		t.Errorf("%d connections", dials)
	}
}

// TestOnlyNewTLSAndHTTP1 has the strictest settings.
func TestOnlyNewTLSAndHTTP1(t *testing.T) {
	host := newForeign(t, "api.example.com")
	p := startPlane(t, func(c *apiserver.Config) {
		c.Serving.CertFile, c.Serving.KeyFile = host.certFile, host.keyFile
		c.Serving.MinTLSVersion, c.Serving.DisableHTTP2 = "VersionTLS13", true
	})
	listsOverTLS(t, p)
	response, err := p.httpClient(t, pki.KeyPair{}).Get(p.URL() + "/version")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.ProtoMajor != 1 || response.TLS.Version != tls.VersionTLS13 {
		t.Errorf("%s over %s", response.Proto, tls.VersionName(response.TLS.Version))
	}
}

// TestServingIsValidated: errors name the field and the cure.
func TestServingIsValidated(t *testing.T) {
	good := newForeign(t, "api.example.com")
	other := newForeign(t, "api.example.com")
	readable := newForeign(t, "api.example.com")
	if err := errors.Join(os.Chmod(filepath.Dir(filepath.Dir(readable.keyFile)), 0o755), os.Chmod(readable.keyFile, 0o644)); err != nil {
		t.Fatal(err)
	}
	sni := func(names ...string) apiserver.Serving {
		return apiserver.Serving{SNICertificates: []apiserver.SNICertificate{{CertFile: good.certFile, KeyFile: good.keyFile, Names: names}}}
	}
	handler := http.NotFoundHandler()
	for name, test := range map[string]struct {
		serving apiserver.Serving
		want    string
	}{
		"key missing":     {apiserver.Serving{CertFile: good.certFile}, "Serving.KeyFile: Required value: set it together with Serving.CertFile"},
		"not a file":      {apiserver.Serving{CertFile: "/nonexistent", KeyFile: good.keyFile}, "Serving.CertFile: Invalid value"},
		"other key":       {apiserver.Serving{CertFile: good.certFile, KeyFile: other.keyFile}, "does not match"},
		"SNI":             {apiserver.Serving{SNICertificates: []apiserver.SNICertificate{{CertFile: good.certFile, KeyFile: good.keyFile, Names: []string{"Not A Name"}}}}, "Serving.SNICertificates[0].Names[0]"},
		"a key for all":   {apiserver.Serving{CertFile: good.certFile, KeyFile: readable.keyFile}, fmt.Sprintf("Serving.KeyFile: Invalid value: %q: %s: every user", readable.keyFile, readable.keyFile)},
		"no key file":     {apiserver.Serving{CertFile: good.certFile, KeyFile: "/nonexistent"}, "Serving.KeyFile: Invalid value: \"/nonexistent\": open /nonexistent: no such file"},
		"swapped":         {apiserver.Serving{CertFile: readable.keyFile, KeyFile: readable.certFile}, "they are swapped"},
		"SNI, the key":    {apiserver.Serving{SNICertificates: []apiserver.SNICertificate{{CertFile: good.certFile, KeyFile: "/nonexistent"}}}, "Serving.SNICertificates[0].KeyFile: Invalid value"},
		"SNI, a Service":  {sni("api.example.com", "kubernetes.default.svc"), "Serving.SNICertificates[0].Names[1]: Invalid value: \"kubernetes.default.svc\": has no effect"},
		"SNI, every name": {sni("*"), "Serving.SNICertificates[0].Names[0]: Invalid value: \"*\": matches names of one label only"},
		"SNI without key": {apiserver.Serving{SNICertificates: []apiserver.SNICertificate{{CertFile: good.certFile}}}, "Serving.SNICertificates[0].KeyFile: Required"},
		"version":         {apiserver.Serving{MinTLSVersion: "1.3"}, `Serving.MinTLSVersion: Unsupported value: "1.3": supported values: "VersionTLS10"`},
		"cipher":          {apiserver.Serving{CipherSuites: []string{"TLS_NONE"}}, "Serving.CipherSuites[0]: Unsupported value"},
		"no HTTP/2":       {apiserver.Serving{CipherSuites: []string{"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}}, "HTTP/2 needs"},
		"curve":           {apiserver.Serving{CurvePreferences: []tls.CurveID{1}}, "Serving.CurvePreferences[0]"},
		"streams":         {apiserver.Serving{HTTP2MaxStreamsPerConnection: -1}, "Serving.HTTP2MaxStreamsPerConnection"},
		"goaway":          {apiserver.Serving{GoawayChance: 0.5}, "Serving.GoawayChance: Invalid value: 0.5: must be from 0 to 0.02"},
		"HSTS":            {apiserver.Serving{HSTSDirectives: []string{"maxage=1"}}, "Serving.HSTSDirectives[0]"},
		"CORS":            {apiserver.Serving{CORSAllowedOrigins: []string{"("}}, "Serving.CORSAllowedOrigins[0]: Invalid value: \"(\": error parsing regexp"},
		"CORS not pinned": {apiserver.Serving{CORSAllowedOrigins: []string{"https://console[.]example[.]com"}}, "must be anchored"},
		"CORS, a dot":     {apiserver.Serving{CORSAllowedOrigins: []string{"https://console.example.com"}}, `Serving.CORSAllowedOrigins[0]: Invalid value: "https://console.example.com": "." matches any character`},
		"handler":         {apiserver.Serving{Handlers: map[string]http.Handler{"/api/v1": handler}}, "Serving.Handlers[/api/v1]: Invalid value: \"/api/v1\": would hide paths"},
		"nil handler":     {apiserver.Serving{Handlers: map[string]http.Handler{"/app": nil}}, "Serving.Handlers[/app]: Required value"},
	} {
		err := apiserver.Config{Serving: test.serving}.Validate()
		if !contains(err, test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	err := apiserver.Config{Serving: apiserver.Serving{CertFile: good.certFile, KeyFile: good.keyFile, CipherSuites: []string{"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}, MinTLSVersion: "VersionTLS13", Handlers: map[string]http.Handler{"/app/": handler}}}.Validate()
	if contains(err, "Serving") {
		t.Errorf("a good configuration: %v", err)
	}
}

// rootPaths returns the paths that the server lists.
func (p *plane) rootPaths(t testing.TB) []string {
	t.Helper()
	var paths metav1.RootPaths
	if err := json.Unmarshal([]byte(p.get(t, "/").want(t, http.StatusOK).body), &paths); err != nil {
		t.Fatal(err)
	}
	return paths.Paths
}

// TestPathsOfTheAPIAreReserved: no handler of the host can take a path that the server
// lists.
func TestPathsOfTheAPIAreReserved(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) { c.Profiling = true })
	paths := p.rootPaths(t)
	if len(paths) < 50 {
		t.Fatalf("only %d paths", len(paths))
	}
	for _, path := range paths {
		err := apiserver.Config{Serving: apiserver.Serving{Handlers: map[string]http.Handler{path: http.NotFoundHandler()}}}.Validate()
		if !contains(err, "Serving.Handlers") {
			t.Errorf("%s can be hidden", path)
		}
	}
}

// TestHandlersOfTheHost: they are behind the filters of the API.
func TestHandlersOfTheHost(t *testing.T) {
	release := make(chan struct{})
	logFile := filepath.Join(t.TempDir(), "audit.log")
	files := t.TempDir()
	for _, dir := range []string{"public", "private"} {
		if err := errors.Join(os.Mkdir(filepath.Join(files, dir), 0o700), os.WriteFile(filepath.Join(files, dir, "x"), []byte(dir), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	p := startPlane(t, func(c *apiserver.Config) {
		c.Audit.Log.Path = logFile
		c.RequestTimeout = 2 * time.Second
		c.Serving.Handlers = map[string]http.Handler{
			"/app/": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				who, _ := request.UserFrom(r.Context())
				_, _ = fmt.Fprintf(w, "%s %s", who.GetName(), r.URL.Path)
			}),
			// http.FileServer, with a file that jane may read and one that she may not.
			"/files/":    http.StripPrefix("/files/", http.FileServer(http.Dir(files))),
			"/app/login": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Set-Cookie", "session=1") }),
			"/app/panic": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("told to") }),
			"/app/exit":  http.HandlerFunc(func(http.ResponseWriter, *http.Request) { runtime.Goexit() }),
			"/app/part": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "part")
				w.(http.Flusher).Flush()
				panic("told to")
			}),
			"/app/exitpart": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "part")
				runtime.Goexit()
			}),
			"/app/hang": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }),
			"/app/gateway": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "the host's own answer", http.StatusGatewayTimeout)
			}),
			"/app/abort": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
		}
	})
	defer close(release)
	_, err := p.admin().RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "app"},
		Rules:      []rbacv1.PolicyRule{{NonResourceURLs: []string{"/app/*", "/files/public/*"}, Verbs: []string{"get"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.admin().RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "app"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "app"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "jane"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := p.pki.IssueClient("jane", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	masters, err := p.pki.IssueClient("root", []string{"system:masters"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	jane, root, stranger := p.httpClient(t, pair), p.httpClient(t, masters), p.httpClient(t, pki.KeyPair{})
	if got := p.call(t, jane, http.MethodGet, "/app/a/b", "").want(t, http.StatusOK).body; got != "jane /app/a/b" {
		t.Errorf("got %q", got)
	}
	// Unlike the logs of pods, its responses are the host's own.
	if got := p.call(t, jane, http.MethodGet, "/app/login", "", "User-Agent: Mozilla/5.0").want(t, http.StatusOK).header; got.Get("Set-Cookie") == "" || got.Get("Content-Security-Policy") != "" {
		t.Errorf("a browser gets %v", got)
	}
	p.call(t, jane, http.MethodPost, "/app/a", "{}").want(t, http.StatusForbidden)
	p.call(t, stranger, http.MethodGet, "/app/a", "").want(t, http.StatusUnauthorized)
	if got := p.get(t, "/app/a").want(t, http.StatusOK).body; got != apiserver.AdminUser+" /app/a" {
		t.Errorf("in this process: got %q", got)
	}
	p.call(t, jane, http.MethodGet, "/files/public/x", "").want(t, http.StatusOK)
	p.call(t, jane, http.MethodGet, "/files/private/x", "").want(t, http.StatusForbidden)
	for _, path := range []string{
		"/files/public/../private/x", "/files/public/%2e%2e/private/x", "/files/public%2f..%2fprivate/x",
		"/files/public/%2E./private/x", "/files/public//../../files/private/x", "/files/public/./x", "/files/public//x",
		"/files/public/%2fx", "/files/public/..", "/files/public/.", "/files/public//",
	} {
		if got := p.call(t, jane, http.MethodGet, path, "").want(t, http.StatusBadRequest).body; !strings.Contains(got, "must not have //") {
			t.Errorf("%s: %s", path, got)
		}
	}
	for path, want := range map[string]string{"/app/panic": "panicked", "/app/exit": "ended its goroutine"} {
		got := p.call(t, jane, http.MethodGet, path, "").want(t, http.StatusInternalServerError).body
		if want = fmt.Sprintf(`Config.Serving.Handlers[\"%s\"] %s`, path, want); !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for _, path := range []string{"/app/part", "/app/exitpart", "/app/abort"} {
		response, err := jane.Get(p.URL() + path)
		if err == nil {
			_, err = io.ReadAll(response.Body)
			_ = response.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: the client takes the part for the whole", path)
		}
	}
	if got := p.call(t, jane, http.MethodGet, "/app/gateway", "").want(t, http.StatusGatewayTimeout).body; got != "the host's own answer\n" {
		t.Errorf("the handler's own HTTP 504: got %q", got)
	}
	// Methods like the verbs of long requests for resources.
	for _, method := range []string{"WATCH", "PROXY"} {
		p.call(t, root, method, "/app/hang", "").want(t, http.StatusGatewayTimeout)
	}
	answer := p.call(t, jane, http.MethodGet, "/app/hang", "").want(t, http.StatusGatewayTimeout)
	if !strings.Contains(answer.body, `Config.Serving.Handlers[\"/app/hang\"] has not returned`) || answer.header.Get("Content-Type") != "application/json" {
		t.Errorf("after the timeout: %v %s", answer.header, answer.body)
	}
	paths := p.rootPaths(t)
	for _, want := range []string{"/app/", "/app/panic", "/api/v1"} {
		if !slices.Contains(paths, want) {
			t.Errorf("%s is not listed", want)
		}
	}
	events, err := os.ReadFile(logFile)
	if err != nil || !strings.Contains(string(events), `"requestURI":"/app/a/b"`) {
		t.Errorf("the audit log has no event of the handler: %v", err)
	}
}

// TestHandler mounts the control plane in a server of the host's.
func TestHandler(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) { c.Profiling = true })
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the host's own page") })
	mux.Handle("/k8s/", http.StripPrefix("/k8s", p.Handler()))
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(mux)
			server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert}
			server.EnableHTTP2 = http2
			server.StartTLS()
			defer server.Close()
			config := p.as(t, "jane", "system:masters")
			config.Host, config.CAData, config.Insecure = server.URL+"/k8s", nil, true
			client := clientset(t, config)
			review, err := client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
			if err != nil || review.Status.UserInfo.Username != "jane" {
				t.Fatalf("user %v, %v", review, err)
			}
			watch, err := client.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			made, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "mounted-"}}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for event := range watch.ResultChan() {
				if object, ok := event.Object.(*corev1.ConfigMap); ok && object.Name == made.Name {
					break
				}
			}
			watch.Stop()
			pages, err := rest.HTTPClientFor(config)
			if err != nil {
				t.Fatal(err)
			}
			pages.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			redirect, err := pages.Get(config.Host + "/debug/pprof?debug=1")
			if err != nil {
				t.Fatal(err)
			}
			_ = redirect.Body.Close()
			if location := redirect.Header.Get("Location"); location != "/k8s/debug/pprof/" {
				t.Errorf("a redirect: %s to %q", redirect.Status, location)
			}
			config.CertData, config.KeyData, config.BearerToken = nil, nil, "wrong"
			if err := version(config); !contains(err, "the server has asked for the client to provide credentials") {
				t.Errorf("with a wrong token: %v", err)
			}
		})
	}
}

// TestHandlerKeepsTheRequest: a middleware of the host's, for a log of its own, finds the
// request as it was, also after a watch.
func TestHandlerKeepsTheRequest(t *testing.T) {
	p := sharedPlane(t)
	served := make(chan [2]http.Header, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before := r.Header.Clone()
		p.Handler().ServeHTTP(w, r)
		served <- [2]http.Header{before, r.Header}
	}))
	defer server.Close()
	token, err := p.ClientConfigAs("jane", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	client := clientset(t, &rest.Config{Host: server.URL, BearerToken: token.BearerToken, Impersonate: rest.ImpersonationConfig{UserName: "joe", Groups: []string{"system:masters"}}})
	watch, err := client.CoreV1().Namespaces().Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	<-watch.ResultChan()
	watch.Stop()
	headers := <-served
	if got := headers[0]; got.Get("Authorization") == "" || got.Get("Impersonate-User") == "" {
		t.Errorf("the client has sent %v", got)
	}
	for name, values := range headers[0] {
		if !slices.Equal(headers[1][name], values) {
			t.Errorf("after the request %s is %q", name, headers[1][name])
		}
	}
}

// TestHandlerAfterStop: exec works through a server of the host's. A stop ends it and
// watches, and later requests get 503.
func TestHandlerAfterStop(t *testing.T) {
	p := startPlane(t)
	ns := p.namespace(t)
	kubelet := startKubelet(t, serving(t, p.pki.KubeletServingCA(), "exec", "127.0.0.1"), catKubelet)
	p.worker(t, ns, "exec", kubelet.port(t), internalIP("127.0.0.1"))
	server := httptest.NewServer(p.Handler())
	defer server.Close()
	token, err := p.ClientConfigAs("jane", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	config := &rest.Config{Host: server.URL, BearerToken: token.BearerToken}
	client := clientset(t, config)
	watch, err := client.CoreV1().Namespaces().Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{}, 2)
	for name, executor := range executors(t, config, ns, "exec", "exec") {
		stdin, input := io.Pipe()
		stdout, output := io.Pipe()
		defer func() { _, _ = stdin.Close(), stdout.Close() }()
		go func() {
			_ = executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: stdin, Stdout: output})
			ended <- struct{}{}
		}()
		go func() { _, _ = io.WriteString(input, "there and back") }()
		got := make([]byte, len("there and back"))
		if _, err := io.ReadFull(stdout, got); err != nil || string(got) != "there and back" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	for range watch.ResultChan() { // until it ends
	}
	for range 2 {
		<-ended
	}
	response, err := http.Get(server.URL + "/version")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%s, want 503", response.Status)
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestCertificateReloadUnderLoad replaces the certificate 200 times while 16 clients
// work, half of them on a new connection each time. No request fails, and a bad file
// changes nothing but the log.
func TestCertificateReloadUnderLoad(t *testing.T) {
	host := newForeign(t, "api.example.com")
	core, logs := observer.New(zap.InfoLevel)
	p := startPlane(t, func(c *apiserver.Config) {
		c.Serving.CertFile, c.Serving.KeyFile = host.certFile, host.keyFile
		c.Logger = zap.New(core)
	})
	pair, err := p.pki.IssueClient("jane", []string{"system:masters"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	var clients sync.WaitGroup
	stop := make(chan struct{})
	var served atomic.Int64
	for i := range 16 {
		config := host.client(p, "api.example.com")
		config.CertData, config.KeyData = pair.Cert, pair.Key
		config.Proxy = http.ProxyFromEnvironment // a transport of its own
		httpClient, err := rest.HTTPClientFor(config)
		if err != nil {
			t.Fatal(err)
		}
		client, err := kubernetes.NewForConfigAndClient(config, httpClient)
		if err != nil {
			t.Fatal(err)
		}
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := client.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				served.Add(1)
				if i%2 == 0 {
					utilnet.CloseIdleConnectionsFor(httpClient.Transport)
				}
			}
		})
	}
	for i := range 200 {
		if i%20 == 10 {
			if err := os.WriteFile(host.certFile, []byte("no certificate"), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		host.renew(t, "api.example.com", fmt.Sprintf("n%d.example.com", i))
	}
	testwait.Until(t, "the last certificate", func(context.Context) error { return version(host.client(p, "n199.example.com")) })
	if err := os.WriteFile(host.keyFile, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := func() *observer.ObservedLogs {
		return logs.FilterMessage("the changed serving certificate cannot be used: the former one stays").
			FilterField(zap.String("field", "Config.Serving.CertFile")).FilterField(zap.String("key", host.keyFile))
	}
	testwait.True(t, "a line about the bad file", func() bool { return bad().Len() > 0 })
	if err := version(host.client(p, "n199.example.com")); err != nil {
		t.Errorf("after a bad file: %v", err)
	}
	close(stop)
	clients.Wait()
	if served.Load() < 16 {
		t.Errorf("only %d requests", served.Load())
	}
	t.Logf("%d requests", served.Load())
}
