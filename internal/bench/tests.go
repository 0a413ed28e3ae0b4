package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/kubembed/kubembed/internal/bench/work"
)

const mebibyte = 1 << 20

// run is one run of a test binary.
type run struct {
	wall, cpu time.Duration
	peak      int64 // resident bytes, of all processes together
}

// tests measures the packages of 20 tests.
func (b *bench) tests() ([]row, error) {
	var ours, theirs, once []run
	for i := range b.runs {
		fmt.Fprintf(os.Stderr, "20 tests: run %d of %d\n", i+1, b.runs)
		for _, side := range []struct {
			name, test string
			to         *[]run
		}{
			{"own", "TestPackage", &ours},
			{"envtest", "TestPackage", &theirs},
			{"envtest", "TestInstalledOnce", &once},
		} {
			r, err := b.start(side.name, "-test.run=^"+side.test+"$")
			if err != nil {
				return nil, err
			}
			*side.to = append(*side.to, r)
			fmt.Fprintf(os.Stderr, "  %s %s: %s, CPU %s, peak %d MiB\n", side.name, side.test, r.wall.Round(time.Millisecond), r.cpu.Round(time.Millisecond), r.peak/mebibyte)
		}
	}
	column := func(runs []run, value func(run) float64) (column []float64) {
		for _, r := range runs {
			column = append(column, value(r))
		}
		return column
	}
	wall := func(r run) float64 { return r.wall.Seconds() }
	cpu := func(r run) float64 { return r.cpu.Seconds() }
	peak := func(r run) float64 { return float64(r.peak) / mebibyte }
	const ownEach = "20 tests, a control plane each against one shared"
	return []row{
		{ownEach + ": wall time", "s", column(ours, wall), column(theirs, wall)},
		{"the same, CRDs installed before the tests in envtest", "s", column(ours, wall), column(once, wall)},
		{ownEach + ": CPU time", "s", column(ours, cpu), column(theirs, cpu)},
		{ownEach + ": peak memory", "MiB", column(ours, peak), column(theirs, peak)},
	}, nil
}

// start runs the test binary of a side, and fails where a test does.
func (b *bench) start(side string, args ...string) (run, error) {
	cmd := exec.Command(filepath.Join(b.work, side+".test"), append(args, "-test.v", "-test.timeout=5m")...)
	cmd.Dir = b.work
	cmd.Env = append(os.Environ(), "KUBEBUILDER_ASSETS="+b.assets)
	log, err := os.Create(filepath.Join(b.work, side+".log"))
	if err != nil {
		return run{}, err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return run{}, err
	}
	ended, peak := make(chan struct{}), make(chan int64)
	go func() { peak <- peakMemory(cmd.Process.Pid, ended) }()
	err = cmd.Wait()
	took := time.Since(began)
	close(ended)
	r := run{wall: took, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), peak: <-peak}
	if err != nil {
		text, _ := os.ReadFile(log.Name())
		return run{}, fmt.Errorf("%s: %w\n%s", cmd, err, text)
	}
	return r, nil
}

func peakMemory(pid int, ended <-chan struct{}) int64 {
	var peak int64
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return peak
		case <-tick.C:
			// The process may have ended just now.
			if memory, err := work.ResidentMemory(pid); err == nil {
				peak = max(peak, memory)
			}
		}
	}
}
