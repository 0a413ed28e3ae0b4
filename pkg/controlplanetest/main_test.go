package controlplanetest_test

import (
	"os"
	"testing"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

func TestMain(m *testing.M) {
	os.Exit(controlplanetest.Main(m, controlplanetest.Config{}))
}
