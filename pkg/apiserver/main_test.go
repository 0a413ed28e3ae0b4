package apiserver_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/klogbridge"
	kubeleaks "github.com/kubembed/kubembed/internal/lifecycle/leaks"
)

func TestMain(m *testing.M) {
	// As pkg/controlplane does: what upstream prints is nobody's business.
	detach := klogbridge.Attach(zap.NewNop())
	code := m.Run()
	if err := closeShared(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping the shared server:", err)
		code = 1
	}
	if code == 0 {
		if err := leaks(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	_ = detach() // goroutines that are still ending may still log
	os.Exit(code)
}

// leaks finds goroutines that stopped servers have left. Some of upstream's are
// about to try a request again and see only then that the server is gone.
func leaks() (err error) {
	for deadline := time.Now().Add(waitTimeout); time.Now().Before(deadline); {
		// Find itself looks again for a second or so.
		if err = goleak.Find(append(kubeleaks.Ignored(),
			// It is that of TestMain, to the end.
			goleak.IgnoreAnyFunction("github.com/kubembed/kubembed/internal/logqueue.(*Queue).work"),
		)...); err == nil {
			return nil
		}
	}
	return err
}
