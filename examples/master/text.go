package main

import (
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"text/template"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

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
		"Kubectl":  "kubectl --kubeconfig " + o.path(adminFile),
		"Join":     o.path(joinFile),
		"JoinFile": joinFile,
		"Lifetime": duration.HumanDuration(o.joinLifetime),

		"Scheduler":   o.scheduler,
		"Controllers": o.controllers,
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

// What is typed on a worker is not indented: the end of kubelet.yaml must be at
// the beginning of a line. Defaults of KubeletConfiguration do the rest, the
// authentication and authorization of whoever talks to the kubelet among them.
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

To join a worker, copy {{.Join}} to it, and type there, where the file is, what
follows. All workers take the same file, each with a name of its own at the end.
It is a secret: whoever has it can add workers, for {{.Lifetime}} from now.

sed -n 's/.*certificate-authority-data: //p' {{.JoinFile}} | base64 -d > ca.crt
cat > kubelet.yaml <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  x509:
    clientCAFile: ca.crt
rotateCertificates: true
serverTLSBootstrap: true
EOF
sudo kubelet --config=kubelet.yaml --bootstrap-kubeconfig={{.JoinFile}} \
    --kubeconfig=/var/lib/kubelet/kubeconfig --hostname-override=worker1
{{if .Local}}
Only this machine can reach the control plane. Workers on other machines need
one with --bind-address=<an IP address of this machine>.
{{- else}}
If the worker is this machine, let its kubelet have the address of the control plane:
    {{.Kubectl}} label node worker1 node-role.kubernetes.io/control-plane=
{{- end}}

Run a pod on worker1, look into it, and delete it:
    {{.Kubectl}} apply -f testdata/seed/nginx-worker1.yaml
    {{.Kubectl}} get pods -o wide
    {{.Kubectl}} logs nginx
    {{.Kubectl}} exec -it nginx -- sh
    {{.Kubectl}} delete -f testdata/seed/nginx-worker1.yaml
On worker2 it is the same:
    {{.Kubectl}} apply -f testdata/seed/nginx-worker2.yaml

{{if .Scheduler -}}
The scheduler chooses a node for a pod without nodeName:
    {{.Kubectl}} apply -f testdata/seed/nginx-unbound.yaml
    {{.Kubectl}} get pods -o wide
{{- else -}}
A pod without nodeName stays Pending, as there is no scheduler; --scheduler adds it:
    {{.Kubectl}} apply -f testdata/seed/nginx-unbound.yaml
{{- end}}
{{- if .Controllers}}

The controllers make the pods of a Deployment{{if not .Scheduler}}, which stay Pending too{{end}}:
    {{.Kubectl}} create deployment web --image=nginx:latest --replicas=3
    {{- if .Scheduler}}
    {{.Kubectl}} rollout status deployment web
    {{- end}}
    {{.Kubectl}} get deployments,pods -o wide
{{- end}}

Press Ctrl-C to end it.
`))
