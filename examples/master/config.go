package main

import (
	"io"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// config is the control plane that the command line asks for.
func (o options) config(stderr io.Writer) controlplane.Config {
	level := zapcore.WarnLevel
	if o.verbose {
		level = zapcore.InfoLevel
	}
	encoder := zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig())
	cfg := controlplane.Config{
		DataDir:      o.dataDir,
		NewCluster:   o.newCluster,
		BindAddress:  o.bindAddress,
		InsecureAddr: o.insecureAddr,
		Hosts:        o.hosts,
		Logger:       zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(stderr)), level)),
	}
	if o.scheduler {
		cfg.Components = append(cfg.Components, scheduler.New(scheduler.Config{Logger: cfg.Logger.Named("scheduler")}))
	}
	if o.controllers {
		cfg.Components = append(cfg.Components, controllers.New(controllers.Config{
			Controllers: []string{controllers.Workloads, controllers.Nodes},
			Logger:      cfg.Logger.Named("controllers"),
		}))
	}
	return cfg
}
