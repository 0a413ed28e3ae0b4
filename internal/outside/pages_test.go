// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package outside_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/docs"

	// As in outside_test.go.
	_ "github.com/kubembed/kubembed/pkg/components/controllers"
	_ "github.com/kubembed/kubembed/pkg/components/hollownode"
	_ "github.com/kubembed/kubembed/pkg/components/scheduler"
	_ "github.com/kubembed/kubembed/pkg/controlplanetest"
)

// TestPagesInANewModule follows the pages in a new module: it runs their go get
// commands, and compiles and runs their blocks of Go.
func TestPagesInANewModule(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program and may need the module proxy")
	}
	_, env := publish(t)
	root, dir := checkout(t), t.TempDir()
	goCommand(t, dir, env, "mod", "init", "example.com/reader")

	pages, err := docs.Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	written := 0
	for _, page := range pages {
		blocks, err := docs.Read(root, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range blocks {
			switch {
			case block.Has("not run:"):
			case block.Has("in a new module"):
				c := exec.CommandContext(t.Context(), "sh", "-euc", block.Text)
				c.Dir, c.Env = dir, append(append(os.Environ(), "GOWORK=off"), env...)
				if out, err := c.CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", block, err, out)
				}
			case block.Lang == "go":
				source, err := block.GoTest("pages_test")
				if err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(dir, "pages", block.FileName()), source)
				written++
			}
		}
	}
	// Blocks name files in config, or ../config.
	config := filepath.Join(root, "examples", "controller-test", "config")
	for _, to := range []string{dir, filepath.Join(dir, "pages")} {
		for from, name := range map[string]string{"crd": "crd/bases", "webhook": "webhook"} {
			if err := os.CopyFS(filepath.Join(to, "config", filepath.FromSlash(name)), os.DirFS(filepath.Join(config, from))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if written < 8 {
		t.Errorf("only %d blocks of Go", written)
	}

	// A suite has Ginkgo in its own go.mod. go mod tidy adds everything else for a
	// reader.
	var suite struct {
		Require []struct{ Path, Version string }
	}
	if err := json.Unmarshal([]byte(goCommand(t, filepath.Join(root, "examples", "envtest-migration"), nil, "mod", "edit", "-json")), &suite); err != nil {
		t.Fatal(err)
	}
	for _, r := range suite.Require {
		if strings.HasPrefix(r.Path, "github.com/onsi/") {
			goCommand(t, dir, env, "mod", "edit", "-require="+r.Path+"@"+r.Version)
		}
	}
	goCommand(t, dir, env, "mod", "tidy")
	t.Log(goCommand(t, dir, env, "test", "-count=1", "-v", "./..."))
}

// TestGetCommandsOfPages: go get brings all that its package imports, without go mod
// tidy. Each block has a module of its own, because other commands can bring it, too.
func TestGetCommandsOfPages(t *testing.T) {
	if testing.Short() {
		t.Skip("may need the module proxy")
	}
	_, env := publish(t)
	root := checkout(t)
	pages, err := docs.Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	gets := 0
	for _, page := range pages {
		blocks, err := docs.Read(root, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range blocks {
			if block.Has("in a new module") {
				gets += getCommands(t, block, env)
			}
		}
	}
	if gets < 3 {
		t.Errorf("only %d packages", gets)
	}
}

// getCommands runs the commands of a block, and returns how many packages they get.
func getCommands(t *testing.T, block docs.Block, env []string) (gets int) {
	t.Helper()
	dir := t.TempDir()
	goCommand(t, dir, env, "mod", "init", "example.com/reader")
	for line := range strings.Lines(block.Text) {
		c := exec.CommandContext(t.Context(), "sh", "-euc", line)
		c.Dir, c.Env = dir, append(append(os.Environ(), "GOWORK=off"), env...)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %s: %v\n%s", block, line, err, out)
		}
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] != "go" || fields[1] != "get" || strings.HasPrefix(fields[2], "-") {
			continue
		}
		name, _, _ := strings.Cut(fields[2], "@")
		if name == library || name == clientModule {
			name += "/..." // a module: a reader imports some package of it
		}
		gets++
		goCommand(t, dir, env, "list", "-deps", name)
	}
	return gets
}

func write(t *testing.T, file, content string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(file), 0o700)
	if err == nil {
		err = os.WriteFile(file, []byte(content), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
