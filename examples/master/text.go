// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"text/template"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// welcome prints the commands to type next, in a useful order.
func (o options) welcome(ctx context.Context, out io.Writer, cp *controlplane.Server, startTime time.Duration) error {
	client, err := kubernetes.NewForConfig(cp.ClientConfig())
	if err != nil {
		return err
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return err
	}
	data := map[string]any{
		"URL":      cp.URL(),
		"Took":     startTime.Round(time.Millisecond),
		"DataDir":  o.dataDir,
		"Insecure": cp.InsecureURL(),
		"Local":    isLoopback(cp.URL()),
		"Kubectl":  "kubectl --kubeconfig " + quote(o.path(adminFile)),
		"Join":     o.path(joinFile),
		"JoinFile": joinFile,
		"Distrust": o.distrusted(),
		"Lifetime": duration.HumanDuration(o.joinLifetime),
		"Manifest": manifest,

		"Demo":        o.demo,
		"Simulated":   o.simulatedNodes,
		"Nodes":       len(nodes.Items) > 0,
		"Scheduler":   o.scheduler,
		"Controllers": o.controllers,
	}
	if err := welcomeText.Execute(out, data); err != nil {
		return err
	}
	if o.demo {
		if err := showDeployment(ctx, out, cp); err != nil {
			return err
		}
	}
	return nextText.Execute(out, data)
}

// distrusted returns the address at which workers get the certificate of --tls-cert-file
// without its CA, or an empty string. A kubelet that has joined asks for no name.
func (o options) distrusted() string {
	if o.tlsCertFile == "" || o.rootCAFile != "" {
		return ""
	}
	join, err := clientcmd.LoadFromFile(o.path(joinFile))
	if err != nil {
		return ""
	}
	pair, err := tls.LoadX509KeyPair(o.tlsCertFile, o.tlsKeyFile)
	if err != nil {
		return ""
	}
	for _, cluster := range join.Clusters {
		if u, err := url.Parse(cluster.Server); err == nil && pair.Leaf.VerifyHostname(u.Hostname()) == nil {
			return u.Hostname()
		}
	}
	return ""
}

// farewell prints the state of the data.
func (o options) farewell(out io.Writer) {
	if o.dataDir == "" {
		fmt.Fprintln(out, "Ended. The data was discarded, and the kubeconfig files are no longer valid.")
		return
	}
	fmt.Fprintf(out, "Ended. The data is kept in %s.\n", short(o.dataDir))
}

// isLoopback reports whether other machines cannot reach the host of a URL.
func isLoopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback()
}

// manifest is testdata/seed/nginx-worker1.yaml, which README.md has too.
const manifest = `apiVersion: v1
kind: Pod
metadata:
  name: nginx
  labels:
    app: nginx
spec:
  nodeName: worker1
  containers:
  - name: nginx
    image: nginx:latest
    imagePullPolicy: IfNotPresent
    ports:
      - containerPort: 80
        name: http
        protocol: TCP
  restartPolicy: Always
`

var functions = template.FuncMap{"short": short}

var welcomeText = template.Must(template.New("welcome").Funcs(functions).Parse(
	`The control plane is ready: {{.URL}} (started in {{.Took}}).
{{- if .DataDir}}
Its data is kept in {{short .DataDir}}.
{{- else}}
Its data is discarded when it ends; --data-dir keeps it.
{{- end}}
`))

// Commands for a worker, and files, are not indented: EOF must be at the beginning of a
// line. Defaults of KubeletConfiguration cover the rest, like the authentication and
// authorization of the kubelet's clients.
var nextText = template.Must(template.New("next").Funcs(functions).Parse(
	`
See the nodes, by REST and with kubectl:
{{- if .Insecure}}
    curl {{.Insecure}}/api/v1/nodes | jq .
{{- else}}
    {{.Kubectl}} get --raw /api/v1/nodes | jq .
{{- end}}
    {{.Kubectl}} get nodes
{{- if .Simulated}}

{{.Simulated}} of them are simulated: pods get Running there and have logs, but no container runs.
{{- if not .Demo}}
    {{.Kubectl}} run nginx --image=nginx:latest{{if not .Scheduler}} --overrides='{"spec":{"nodeName":"node-0"}}'{{end}}
    {{.Kubectl}} get pods -o wide
    {{.Kubectl}} logs nginx
{{- end}}
{{- else}}

To join a worker, copy {{.Join}} to it, and run these commands there, in the
directory of the file. All workers use the same file, each with its own name at the end.
The file is a secret: anyone who has it can add workers, for {{.Lifetime}} from now.
{{- if .Distrust}}

Workers will not trust this master: the certificate of --tls-cert-file is for
{{.Distrust}}, and they do not know its CA. Start again with --root-ca-file=<file of that CA>.
{{- end}}

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
Only this machine can reach the control plane. For workers on other machines, start it
with --bind-address=<an IP address of this machine>.
{{- else}}
If this machine is the worker, allow its kubelet to use the address of the control plane:
    {{.Kubectl}} label node worker1 node-role.kubernetes.io/control-plane=
{{- end}}

Write the manifest of a pod on worker1:

cat > nginx.yaml <<EOF
{{.Manifest -}}
EOF

Run the pod, look into it, and delete it:
    {{.Kubectl}} apply -f nginx.yaml
    {{.Kubectl}} get pods -o wide
    {{.Kubectl}} logs nginx
    {{.Kubectl}} exec -it nginx -- sh
    {{.Kubectl}} delete -f nginx.yaml
On worker2 it is the same:
    sed 's/worker1/worker2/' nginx.yaml | {{.Kubectl}} apply -f -

{{if .Scheduler -}}
The scheduler chooses a node for a pod without nodeName:
{{- else -}}
A pod without nodeName stays Pending, as there is no scheduler; --scheduler adds it:
{{- end}}
    sed '/nodeName/d; s/^  name: nginx$/  name: nginx-unbound/' nginx.yaml | {{.Kubectl}} apply -f -
{{- if .Scheduler}}
    {{.Kubectl}} get pods -o wide
{{- end}}
{{- end}}
{{- if .Demo}}

See the Deployment, its pods and their logs:
    {{.Kubectl}} get deployments,pods -o wide
    {{.Kubectl}} logs deployment/web
{{- else if .Controllers}}

The controllers make the pods of a Deployment
{{- if not .Scheduler}}, which stay Pending too{{else if not .Nodes}}, which are Pending until a worker has joined{{end}}:
    {{.Kubectl}} create deployment web --image=nginx:latest --replicas=3
    {{- if and .Scheduler .Nodes}}
    {{.Kubectl}} rollout status deployment web
    {{- end}}
    {{.Kubectl}} get deployments,pods -o wide
    {{- if and .Scheduler .Simulated}}
    {{.Kubectl}} logs deployment/web
    {{- end}}
{{- end}}

Press Ctrl-C to end it.
`))
