package controlplanetest

import "sync"

// owner is the test, or the control plane, that something is installed for.
type owner struct {
	name string
	// logf writes to the log of the test until it has ended.
	logf func(format string, args ...any)
	// silence ends that.
	silence func()
	// tempDir makes a directory that is removed at the end.
	tempDir func() (string, error)
}

func ownerOf(t TB) owner {
	var mu sync.Mutex
	var ended bool
	return owner{
		name: t.Name(),
		logf: func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			// After its end a test must not be written to.
			if !ended {
				t.Logf(format, args...)
			}
		},
		silence: func() {
			mu.Lock()
			defer mu.Unlock()
			ended = true
		},
		tempDir: func() (string, error) { return t.TempDir(), nil },
	}
}

// ownerOfAll is for what is installed when the control plane starts.
func (p *plane) ownerOfAll() owner {
	logger := p.config.ControlPlane.Logger
	return owner{
		name: "Config",
		logf: func(format string, args ...any) {
			if logger != nil {
				logger.Sugar().Infof(format, args...)
			}
		},
		silence: func() {},
		tempDir: func() (string, error) { return p.tempDir("webhooks") },
	}
}
