package main

import (
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"text/template"
	"time"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// welcome prints what to type next, in the order in which it makes sense.
func (o options) welcome(out io.Writer, cp *controlplane.Server, took time.Duration) error {
	return welcomeText.Execute(out, map[string]any{
		"URL":      cp.URL(),
		"Took":     took.Round(time.Millisecond),
		"DataDir":  o.dataDir,
		"Insecure": cp.InsecureURL(),
		"Local":    isLoopback(cp.URL()),
		"Kubectl":  "kubectl --kubeconfig " + o.kubeconfig(adminFile),
		"Workers":  o.workers,
		"File":     o.kubeconfig,
	})
}

// farewell prints what becomes of the data.
func (o options) farewell(out io.Writer) {
	if o.dataDir == "" {
		fmt.Fprintln(out, "Ended. The data was discarded, and the kubeconfig files are of no use any more.")
		return
	}
	fmt.Fprintf(out, "Ended. The data is kept in %s.\n", short(o.dataDir))
}

// isLoopback tells whether other machines cannot reach the host of a URL.
func isLoopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback()
}

// The names of the pods' files are those of the workers that they are bound to.
var welcomeText = template.Must(template.New("welcome").Funcs(template.FuncMap{"short": short}).Parse(
	`The control plane is ready: {{.URL}} (started in {{.Took}}).
{{- if .DataDir}}
Its data is kept in {{short .DataDir}}.
{{- else}}
Its data is discarded at the end; --data-dir keeps it.
{{- end}}

See the nodes, by REST and with kubectl:
{{- if .Insecure}}
    curl {{.Insecure}}/api/v1/nodes | jq .
{{- else}}
    {{.Kubectl}} get --raw /api/v1/nodes | jq .
{{- end}}
    {{.Kubectl}} get nodes
{{- range .Workers}}

To join {{.}}, copy {{call $.File .}} to it (each worker has a file of its own) and type there:
    sudo kubelet --kubeconfig={{.}}.kubeconfig --hostname-override={{.}}
{{- if or (eq . "worker1") (eq . "worker2")}}
Run a pod on {{.}}, then delete it:
    {{$.Kubectl}} apply -f testdata/seed/nginx-{{.}}.yaml
    {{$.Kubectl}} get pods -o wide
    {{$.Kubectl}} delete -f testdata/seed/nginx-{{.}}.yaml
{{- end}}
{{- end}}

A pod without nodeName stays Pending, as there is no scheduler:
    {{.Kubectl}} apply -f testdata/seed/nginx-unbound.yaml
{{if .Local}}
Only this machine can reach the control plane. Workers on other machines need
one with --bind-address=<an IP address of this machine>.
{{end}}
Press Ctrl-C to end it.
`))
