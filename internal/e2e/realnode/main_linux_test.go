// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package realnode

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var (
	install = flag.Bool("install", false, "install the Debian packages that are missing, with apt-get")
	require = flag.Bool("require", false, "fail where the test would be skipped")
	kubectl = flag.String("kubectl", "", "absolute `path` of the kubectl to run in place of the one of the release")
)

// programs are run by this binary when it is started with their name.
var programs = map[string]func(args []string) error{
	machineProgram: machineMain,
	getProgram:     getMain,
}

func init() {
	// Keep goroutines that enter namespaces off the first thread, which cannot end
	// before the process does.
	runtime.LockOSThread()
}

func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	if program, ok := programs[name]; ok {
		if err := program(os.Args[1:]); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

const getProgram = "get"

// getMain prints the status and body of a response. It takes the place of curl, which a
// machine may lack.
func getMain(args []string) error {
	flags := flag.NewFlagSet(getProgram, flag.ContinueOnError)
	ca := flags.String("ca", "", "file with the only CA to trust")
	token := flags.String("token", "", "bearer token")
	if err := flags.Parse(args); err != nil {
		return err
	}
	trusted := x509.NewCertPool()
	if *ca != "" {
		pem, err := os.ReadFile(*ca)
		if err != nil {
			return err
		}
		trusted.AppendCertsFromPEM(pem)
	}
	req, err := http.NewRequest(http.MethodGet, flags.Arg(0), nil)
	if err != nil {
		return err
	}
	if *token != "" {
		req.Header.Set("Authorization", "Bearer "+*token)
	}
	client := &http.Client{
		Timeout:   20 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}},
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	fmt.Println(resp.StatusCode)
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}

// get makes a request from a machine.
func (m *machine) get(t *testing.T, args ...string) result {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := m.command(self, args...)
	c.Args[0] = getProgram
	return m.run(t, c, allOfIt)
}
