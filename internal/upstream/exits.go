// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Exit is code that is linked into the host and ends its process without klog and zap.
// klogbridge and the containment of etcd handle the fatal errors of those two.
type Exit struct {
	Package string
	Decls   []string // as in Entry
	Why     string   // reason why it does not end a host
}

// Exits are all such code.
var Exits = []Exit{
	{"k8s.io/klog/v2", []string{"OsExit"}, "klogbridge replaces the variable"},
	{"k8s.io/apiserver/pkg/server", []string{"SetupSignalContext"}, "only main programs call it: this project takes no signals"},
	{"go.etcd.io/etcd/server/v3/embed", []string{"(*configYAML).configFromFile"}, "etcd's configuration comes from Go, not from a file"},
	{"go.etcd.io/etcd/server/v3/etcdserver", []string{"newRaftNode"}, "it is for a zap configuration that does not build; the logger is ours"},
	{"go.etcd.io/bbolt", []string{"(*DefaultLogger).Fatal", "(*DefaultLogger).Fatalf"}, "etcd gives bbolt its own logger, which is ours, and without one bbolt discards its lines"},
	{"go.etcd.io/raft/v3", []string{"(*DefaultLogger).Fatal", "(*DefaultLogger).Fatalf"}, "etcd gives raft zap's logger"},
	{"google.golang.org/grpc/grpclog", []string{"Fatal", "Fatalf", "Fatalln", "FatalDepth"}, "gRPC calls them for mistakes in the program that registers services"},
	{"google.golang.org/grpc/grpclog/internal", []string{"exit"}, "the same"},
	{"google.golang.org/protobuf/reflect/protodesc", []string{"init", "getFeatureSetFor"}, "generated code that does not parse"},
	{"github.com/emicklei/go-restful/v3", []string{"(*Container).Add", "(*RouteBuilder).Build", "(*WebService).compilePathExpression"}, "mistakes in upstream's routes, which the first start meets"},
	{"github.com/google/gnostic-models/extensions", []string{"Main"}, "for plugins of gnostic, which are programs"},
	{"github.com/sirupsen/logrus", []string{"Exit", "New", "(*Logger).Exit"}, "nothing that is used logs with logrus"},
	{"go.uber.org/zap/internal/exit", []string{"_exit"}, "the loggers that upstream gets have a WithFatalHook, and a host's own Fatal is its own"},
	{"github.com/spf13/cobra", []string{"CheckErr"}, "for main programs"},
	{"github.com/spf13/pflag", []string{"(*FlagSet).Parse", "(*FlagSet).ParseAll"}, "for flag sets with ExitOnError, which this project does not make"},
}

// exitWords occur in every file that can end the process.
var exitWords = [][]byte{[]byte("os.Exit"), []byte("syscall.Exit"), []byte("log.Fatal")}

// findExits returns the declarations that can end the process, by package. It visits
// everything that the packages of a pattern link, except Go's own packages.
func findExits(root, pattern string) (map[string][]string, error) {
	command := exec.Command("go", "list", "-e", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}\t{{.Dir}}\t{{range .GoFiles}}{{.}}\t{{end}}{{end}}", pattern)
	command.Dir = root
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list -deps: %w: %s", err, &stderr)
	}
	found := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		parts := strings.Split(strings.TrimSpace(line), "\t")
		if len(parts) < 3 || strings.HasPrefix(parts[0], "github.com/kubembed/") {
			continue
		}
		for _, file := range parts[2:] {
			decls, err := exitsIn(filepath.Join(parts[1], file))
			if err != nil {
				return nil, err
			}
			if len(decls) > 0 {
				found[parts[0]] = append(found[parts[0]], decls...)
			}
		}
	}
	return found, nil
}

func exitsIn(path string) ([]string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(exitWords, func(word []byte) bool { return bytes.Contains(content, word) }) {
		return nil, nil
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, content, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	standardLog := slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"log"` })
	var decls []string
	for _, d := range file.Decls {
		decls = append(decls, declaring(d, func(n ast.Node) bool { return isExit(n, standardLog) })...)
	}
	return decls, nil
}

// isExit reports whether a node names one of the functions that end the process.
func isExit(n ast.Node, standardLog bool) bool {
	selector, ok := n.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	of, ok := selector.X.(*ast.Ident)
	if !ok {
		return false
	}
	switch of.Name {
	case "os", "syscall":
		return selector.Sel.Name == "Exit"
	case "log":
		return standardLog && strings.HasPrefix(selector.Sel.Name, "Fatal")
	}
	return false
}
