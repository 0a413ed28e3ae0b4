package durable

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPlugPulled is TestKill where whatever the kernel had not written by itself
// or because it was asked to is gone.
func TestPlugPulled(t *testing.T) {
	n := *plugs
	if testing.Short() {
		n = 2
	}
	d := newDisk(t)
	h := newHarness(t, filepath.Join(d.dir, "data"))
	h.crash = d.pullPlug
	run(t, h, n)
}

// TestPlugPulledWithoutFsyncIsFound is a mutant: what TestPlugPulled promises is
// kept by fsync.
func TestPlugPulledWithoutFsyncIsFound(t *testing.T) {
	d := newDisk(t)
	h := newHarness(t, filepath.Join(d.dir, "data"))
	h.crash = d.pullPlug
	if err := h.cycle(); err != nil { // a folder that is there for sure
		t.Fatal(err)
	}
	h.args = []string{"--no-fsync"}
	for i := range 5 {
		err := h.cycle()
		for _, found := range h.log.Found() {
			if strings.Contains(found, ": lost: ") {
				t.Logf("in cycle %d: %d found, among them: %s", i, len(h.log.Found()), found)
				return
			}
		}
		if err != nil {
			t.Fatalf("instead of a loss: %v", err)
		}
	}
	t.Error("it was not noticed in 5 cycles")
}

// disk is an ext4 file system on a loop device.
type disk struct {
	t          *testing.T
	image, dir string
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount a file system to pull the plug of")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip(err)
	}
	d := &disk{t: t, image: filepath.Join(t.TempDir(), "image"), dir: filepath.Join(t.TempDir(), "disk")}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, 1<<30); err != nil { // sparse
		t.Fatal(err)
	}
	d.run("mkfs.ext4", "-q", d.image)
	// Privileges are not enough in every container.
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.dir).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = unix.Unmount(d.dir, unix.MNT_DETACH) })
	return d
}

func (d *disk) run(name string, args ...string) {
	d.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %s: %v: %s", name, args, err, out)
	}
}

// pullPlug shuts the file system down under the process, without another write to
// the device and without its own log, ends the process, and mounts what is left.
func (d *disk) pullPlug(p *process) error {
	d.t.Helper()
	if err := shutDown(d.dir); err != nil {
		d.t.Fatal(err)
	}
	err := p.kill()
	d.run("umount", d.dir)
	d.run("mount", "-o", "loop", d.image, d.dir)
	return err
}
