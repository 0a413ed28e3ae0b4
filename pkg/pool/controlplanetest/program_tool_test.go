// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"archive/zip"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// suite is a module outside of the checkout whose tool controlplanes is a small program.
type suite struct {
	*testing.T
	root string
}

const (
	stub     = "example.com/stub"
	stubTool = "tool " + stub + "/controlplanes\n\nrequire " + stub + " v1.0.0\n"
	suiteMod = "module example.com/suite\n\ngo 1.24\n\n"
	someMain = "package main\n\nfunc main() {}\n"
)

// newSuite makes the module with a module cache of its own, and changes to the directory
// of one of its packages. Its tool comes from a module proxy.
func newSuite(t *testing.T) *suite {
	s := &suite{t, t.TempDir()}
	s.Setenv(programVariable, "")
	for name, value := range map[string]string{
		"GOWORK": "", "GOFLAGS": "-modcacherw", "GONOSUMDB": stub, "GOPROXY": s.proxy(), "GOMODCACHE": s.TempDir(), "TMPDIR": s.TempDir(),
	} {
		s.Setenv(name, value)
	}
	s.write("go.mod", suiteMod+stubTool)
	s.write("package/package.go", "package some\n")
	s.Chdir(filepath.Join(s.root, "package"))
	s.run("go", "mod", "tidy")
	return s
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) write(name, text string) {
	s.Helper()
	path := filepath.Join(s.root, filepath.FromSlash(name))
	s.must(os.MkdirAll(filepath.Dir(path), 0o700))
	s.must(os.WriteFile(path, []byte(text), 0o600))
}

func (s *suite) run(name string, args ...string) {
	s.Helper()
	if out, err := exec.CommandContext(s.Context(), name, args...).CombinedOutput(); err != nil {
		s.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// proxy returns a module proxy that has the module of the tool.
func (s *suite) proxy() string {
	dir := s.TempDir()
	versions := filepath.Join(dir, filepath.FromSlash(stub), "@v")
	s.must(os.MkdirAll(versions, 0o700))
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	module := "module " + stub + "\n\ngo 1.24\n"
	for name, text := range map[string]string{"go.mod": module, "controlplanes/main.go": someMain} {
		file, err := w.Create(stub + "@v1.0.0/" + name)
		s.must(err)
		_, err = file.Write([]byte(text))
		s.must(err)
	}
	s.must(w.Close())
	for name, data := range map[string][]byte{"list": nil, "v1.0.0.info": []byte(`{"Version": "v1.0.0"}`), "v1.0.0.mod": []byte(module), "v1.0.0.zip": archive.Bytes()} {
		s.must(os.WriteFile(filepath.Join(versions, name), data, 0o600))
	}
	return "file://" + strings.TrimPrefix("/"+strings.TrimPrefix(filepath.ToSlash(dir), "/"), "//")
}

// find returns the tool, as another process of the user finds it.
func (s *suite) find(modfile string) (string, error) {
	found.Clear()
	p, err := Config{Modfile: modfile}.program(s.Context())
	return p.path, err
}

func (s *suite) mustFind() string {
	s.Helper()
	path, err := s.find("")
	s.must(err)
	if _, err := os.Stat(path); err != nil {
		s.Fatal(err)
	}
	return path
}

// breakGo makes go fail, by means that the answers do not depend on.
func (s *suite) breakGo() {
	s.must(os.RemoveAll(os.Getenv("GOMODCACHE")))
	s.must(os.RemoveAll(strings.TrimPrefix(os.Getenv("GOPROXY"), "file://")))
}

// TestGoIsAskedOnce: a second process knows the answer, without go.
func TestGoIsAskedOnce(t *testing.T) {
	s := newSuite(t)
	first := s.mustFind()
	s.breakGo()
	if second := s.mustFind(); second != first {
		t.Errorf("got %s, want %s", second, first)
	}
	s.write("go.mod", suiteMod+stubTool+"\n// changed\n")
	if path, err := s.find(""); err == nil {
		t.Errorf("got %s, want the error of go: go.mod has changed", path)
	}
}

// TestGoIsAskedAgain: after a day, without the executable, and by other settings.
func TestGoIsAskedAgain(t *testing.T) {
	for name, change := range map[string]func(s *suite, path string){
		"a day": func(s *suite, _ string) {
			answers, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "*", "tool-*"))
			s.must(err)
			for _, a := range answers {
				info, err := os.Stat(a)
				s.must(err)
				old := info.ModTime().Add(-answerLife)
				s.must(os.Chtimes(a, old, old))
			}
		},
		"executable": func(s *suite, path string) {
			s.must(os.Rename(path, path+".moved"))
			s.Cleanup(func() { s.must(os.Rename(path+".moved", path)) })
		},
		"variable": func(s *suite, _ string) { s.Setenv("GOFLAGS", "-mod=mod") },
		"sums":     func(s *suite, _ string) { s.write("go.sum", "") },
		"workspace": func(s *suite, _ string) {
			s.write("go.work", "go 1.24\n\nuse .\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSuite(t)
			path := s.mustFind()
			change(s, path)
			s.breakGo()
			if path, err := s.find(""); err == nil {
				t.Errorf("got %s, want the error of go", path)
			}
		})
	}
}

// TestToolOfTheCheckout: the answer for a tool whose source can change is not kept.
func TestToolOfTheCheckout(t *testing.T) {
	changed := strings.Replace(someMain, "{}", "{ println() }", 1)
	for name, files := range map[string]map[string]string{
		"main module": {"go.mod": suiteMod + "tool example.com/suite/controlplanes\n", "controlplanes/main.go": someMain},
		"replaced": {
			"go.mod":                         suiteMod + stubTool + "\nreplace " + stub + " => ./replaced\n",
			"replaced/go.mod":                "module " + stub + "\n",
			"replaced/controlplanes/main.go": someMain,
		},
		"workspace": {
			"go.work":                      "go 1.24\n\nuse (\n\t.\n\t./member\n)\n",
			"member/go.mod":                "module " + stub + "\n\ngo 1.24\n",
			"member/controlplanes/main.go": someMain,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSuite(t)
			var source string
			for file, text := range files {
				if s.write(file, text); text == someMain {
					source = file
				}
			}
			first := s.mustFind()
			s.write(source, changed)
			if second := s.mustFind(); second == first {
				t.Errorf("got %s again, want the changed tool", first)
			}
		})
	}
}

// TestSettingsOfGo: the tool is found with them.
func TestSettingsOfGo(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(s *suite) (modfile string)
	}{
		{"flags of the test", func(s *suite) string {
			s.Setenv("GOFLAGS", "-modcacherw -race -cover -tags=some -mod=readonly")
			return ""
		}},
		{"mod", func(s *suite) string { s.Setenv("GOFLAGS", "-modcacherw -mod=mod"); return "" }},
		{"another system", func(s *suite) string { s.Setenv("GOOS", "plan9"); s.Setenv("GOARCH", "386"); return "" }},
		{"vendor", func(s *suite) string {
			s.run("go", "mod", "vendor")
			s.breakGo() // vendored modules need no cache
			return ""
		}},
		{"no network", func(s *suite) string {
			s.run("go", "mod", "download", "all")
			s.Setenv("GOPROXY", "off")
			return ""
		}},
		{"modfile in a workspace", func(s *suite) string { tools(s); s.write("go.work", "go 1.24\n\nuse .\n"); return "tools.mod" }},
		{"modfile beside vendor", func(s *suite) string {
			tools(s)
			s.write("vendor/modules.txt", "# example.com/other v1.0.0\n## explicit\n")
			return "tools.mod"
		}},
		{"modfile in GOFLAGS", func(s *suite) string { tools(s); s.Setenv("GOFLAGS", "-modcacherw -modfile=tools.mod"); return "" }},
		{"no modfile in GOFLAGS", func(s *suite) string {
			tools(s)
			s.Setenv("GOFLAGS", "-modcacherw -modfile=missing.mod")
			return "tools.mod"
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSuite(t)
			path, err := s.find(c.set(s))
			s.must(err)
			if out, err := exec.CommandContext(t.Context(), path).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// tools moves the tool to tools.mod.
func tools(s *suite) {
	for _, ending := range []string{"mod", "sum"} {
		s.must(os.Rename(filepath.Join(s.root, "go."+ending), filepath.Join(s.root, "tools."+ending)))
	}
	s.write("go.mod", suiteMod)
}

// TestErrorsOfGo: they have the command that helps.
func TestErrorsOfGo(t *testing.T) {
	const get = "\tgo get -tool " + toolPackage
	for _, c := range []struct {
		name string
		set  func(s *suite) (modfile string)
		want []string
	}{
		{"no tool", func(s *suite) string { s.write("go.mod", suiteMod); return "" }, []string{"go.mod has no tool controlplanes: run", get}},
		{"no tool in the modfile", func(s *suite) string {
			s.write("tools.mod", suiteMod)
			return "tools.mod"
		}, []string{"tools.mod has no tool controlplanes: run", "\tGOWORK=off go get -tool -modfile=tools.mod " + toolPackage}},
		{"no modfile", func(*suite) string { return "tools.mod" }, []string{"Config.Modfile: there is no ", "\tgo mod init -modfile=tools.mod tools\n", "-modfile=tools.mod " + toolPackage}},
		{"no tool in the workspace", func(s *suite) string {
			s.write("go.mod", suiteMod)
			s.write("go.work", "go 1.24\n\nuse .\n")
			return ""
		}, []string{"has no tool controlplanes: run", get}},
		{"no module", func(s *suite) string { s.Chdir(s.TempDir()); return "" }, []string{"is in none: run the test in its module", "KUBEMBED_CONTROLPLANES"}},
		{"no go", func(s *suite) string { s.Setenv("PATH", s.TempDir()); return "" }, []string{"there is no go command: add its directory to PATH", "KUBEMBED_CONTROLPLANES"}},
		{"old go", func(s *suite) string {
			s.write("go.mod", "module example.com/suite\n\ngo 1.999\n")
			s.Setenv("GOTOOLCHAIN", "local")
			return ""
		}, []string{"use this version of Go or a later one", "requires go >= 1.999"}},
		{"not vendored", func(s *suite) string { s.write("vendor/modules.txt", ""); return "" }, []string{"\tgo mod vendor\n"}},
		{"no sums", func(s *suite) string { s.write("go.sum", ""); return "" }, []string{"\tgo mod tidy\n"}},
		{"no sums of the modfile", func(s *suite) string {
			tools(s)
			s.write("tools.sum", "")
			s.write("tools.mod", suiteMod+stubTool+"require github.com/kubembed/kubembed v1.2.3\n")
			return "tools.mod"
		}, []string{"\tGOWORK=off go get -tool -modfile=tools.mod " + toolPackage + "@v1.2.3\n"}},
		{"no network", func(s *suite) string { s.breakGo(); s.Setenv("GOPROXY", "off"); return "" }, []string{"download the modules first", "\tgo mod download\n"}},
		{"no network for the modfile", func(s *suite) string {
			tools(s)
			s.breakGo()
			s.Setenv("GOPROXY", "off")
			return "tools.mod"
		}, []string{"download the modules first", "\tGOWORK=off go mod download -modfile=tools.mod\n"}},
		{"broken", func(s *suite) string {
			s.write("go.mod", suiteMod+"tool example.com/suite/controlplanes\n")
			s.write("controlplanes/main.go", "package main\n")
			return ""
		}, []string{"go tool -n controlplanes in ", "exit status", "function main is undeclared"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSuite(t)
			path, err := s.find(c.set(s))
			if err == nil {
				t.Fatalf("got %s, want an error", path)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q", err, want)
				}
			}
		})
	}
}
