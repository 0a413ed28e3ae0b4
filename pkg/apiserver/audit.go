package apiserver

import (
	"fmt"
	"os"
	"path/filepath"

	genericoptions "k8s.io/apiserver/pkg/server/options"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/ownership"
)

// defaultAuditPolicy is what is written when the host gives no policy of its
// own: upstream would write nothing at all.
const defaultAuditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// audit applies upstream's audit options.
func (g *generic) audit() error {
	a := g.config.Audit
	if a.LogPath == "" {
		return nil
	}
	if err := ownership.Appended(a.LogPath); err != nil {
		return fieldpath.New("apiserver", "Config.Audit.LogPath", "%w", err)
	}
	o := genericoptions.NewAuditOptions()
	o.LogOptions.Path = a.LogPath
	o.LogOptions.MaxSize = a.MaxSizeMB
	o.LogOptions.MaxBackups = a.MaxBackups
	o.PolicyFile = a.PolicyFile
	if o.PolicyFile == "" {
		o.PolicyFile = filepath.Join(g.config.Dir, "audit-policy.yaml")
		if err := os.WriteFile(o.PolicyFile, []byte(defaultAuditPolicy), 0o600); err != nil {
			return fmt.Errorf("apiserver: default audit policy: %w", err)
		}
	}
	if err := o.ApplyTo(g.server); err != nil {
		return fieldpath.New("apiserver", "Config.Audit", "%w", err)
	}
	return nil
}
