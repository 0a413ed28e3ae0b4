// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

// dirtyObjects are manifests with objects that Reset must remove.
var dirtyObjects = []struct{ name, manifest string }{
	{"namespace", `apiVersion: v1
kind: Namespace
metadata: {name: team}`},
	{"namespace with objects", `apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: team}
data: {k: v}
---
apiVersion: v1
kind: Secret
metadata: {name: a, namespace: team}
stringData: {k: v}
---
apiVersion: v1
kind: Service
metadata: {name: a, namespace: team}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: a, namespace: team}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: team}
spec: {serviceAccountName: a, containers: [{name: c, image: i}]}`},
	{"namespace with labels and finalizers", `apiVersion: v1
kind: Namespace
metadata: {name: team, labels: {pod-security.kubernetes.io/enforce: restricted}, finalizers: [example.com/keep]}`},
	{"namespace with an unknown spec finalizer", `apiVersion: v1
kind: Namespace
metadata: {name: team}
spec: {finalizers: [kubernetes, example.com/keep]}`},
	{"config map in default", `apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: default}`},
	{"config map in kube-system", `apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: kube-system}`},
	{"config map with a finalizer", `apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: default, finalizers: [example.com/keep]}`},
	{"immutable config map", `apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: default}
immutable: true
data: {k: v}`},
	{"secret of a service account", `apiVersion: v1
kind: Secret
metadata: {name: token, namespace: default, annotations: {kubernetes.io/service-account.name: default}}
type: kubernetes.io/service-account-token`},
	{"bootstrap token", `apiVersion: v1
kind: Secret
metadata: {name: bootstrap-token-abcdef, namespace: kube-system}
type: bootstrap.kubernetes.io/token
stringData: {token-id: abcdef, token-secret: 0123456789abcdef, usage-bootstrap-authentication: "true"}`},
	{"secret with TLS", `apiVersion: v1
kind: Secret
metadata: {name: tls, namespace: kube-public}
type: kubernetes.io/tls
stringData: {tls.crt: "", tls.key: ""}`},
	{"service account", `apiVersion: v1
kind: ServiceAccount
metadata: {name: robot, namespace: kube-system}`},
	{"pod with a finalizer", `apiVersion: v1
kind: Pod
metadata: {name: a, namespace: default, finalizers: [example.com/keep]}
spec: {containers: [{name: c, image: i}]}`},
	{"pod on a node", `apiVersion: v1
kind: Node
metadata: {name: worker}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: default}
spec: {nodeName: worker, containers: [{name: c, image: i}]}`},
	{"pod template", `apiVersion: v1
kind: PodTemplate
metadata: {name: a, namespace: default}
template: {spec: {containers: [{name: c, image: i}]}}`},
	{"node", `apiVersion: v1
kind: Node
metadata: {name: worker, labels: {zone: a}}
spec: {taints: [{key: k, effect: NoSchedule}]}`},
	{"service with a cluster IP", `apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {type: ClusterIP, clusterIP: 10.0.0.77, ports: [{port: 80}]}`},
	{"the same cluster IP again", `apiVersion: v1
kind: Service
metadata: {name: other, namespace: default}
spec: {type: ClusterIP, clusterIP: 10.0.0.77, ports: [{port: 80}]}`},
	{"service with a node port", `apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {type: NodePort, ports: [{port: 80, nodePort: 30080}]}`},
	{"the same node port again", `apiVersion: v1
kind: Service
metadata: {name: other, namespace: default}
spec: {type: NodePort, ports: [{port: 80, nodePort: 30080}]}`},
	{"service with a random node port", `apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {type: NodePort, ports: [{port: 80}]}`},
	{"service of a load balancer", `apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {type: LoadBalancer, ports: [{port: 80}]}`},
	{"headless service", `apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {type: ClusterIP, clusterIP: None, ports: [{port: 80}]}`},
	{"external name", `apiVersion: v1
kind: Service
metadata: {name: ext, namespace: default}
spec: {type: ExternalName, externalName: example.com}`},
	{"endpoints", `apiVersion: v1
kind: Endpoints
metadata: {name: ext, namespace: default}
subsets: [{addresses: [{ip: 192.0.2.1}], ports: [{port: 80}]}]`},
	{"endpoint slice", `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ext, namespace: default, labels: {kubernetes.io/service-name: ext}}
addressType: IPv4
endpoints: [{addresses: [192.0.2.1]}]
ports: [{port: 80}]`},
	{"persistent volume and claim", `apiVersion: v1
kind: PersistentVolume
metadata: {name: disk}
spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /x}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: disk, namespace: default}
spec: {accessModes: [ReadWriteOnce], volumeName: disk, resources: {requests: {storage: 1Gi}}}`},
	{"storage class by default", `apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: fast, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: example.com/x`},
	{"CSI driver and volume attachment", `apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: {name: csi.example.com}
spec: {}
---
apiVersion: storage.k8s.io/v1
kind: VolumeAttachment
metadata: {name: a}
spec: {attacher: csi.example.com, nodeName: worker, source: {persistentVolumeName: p}}`},
	{"limit range", `apiVersion: v1
kind: LimitRange
metadata: {name: small, namespace: default}
spec: {limits: [{type: Container, max: {cpu: "1"}, default: {cpu: 100m}}]}`},
	{"resource quota", `apiVersion: v1
kind: ResourceQuota
metadata: {name: none, namespace: default}
spec: {hard: {pods: "0"}}`},
	{"resource quota of counts", `apiVersion: v1
kind: ResourceQuota
metadata: {name: few, namespace: default}
spec: {hard: {count/configmaps: "2", services: "5"}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {type: ClusterIP, ports: [{port: 80}]}`},
	{"event", `apiVersion: v1
kind: Event
metadata: {name: a, namespace: default}
involvedObject: {kind: Pod, name: p, namespace: default}
reason: R`},
	{"event of events.k8s.io", `apiVersion: events.k8s.io/v1
kind: Event
metadata: {name: b, namespace: default}
eventTime: "2024-01-01T00:00:00.000000Z"
regarding: {kind: Pod, name: p, namespace: default}
reason: R
action: A
type: Normal
reportingController: example.com/c
reportingInstance: i`},
	{"lease", `apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: leader, namespace: kube-system}
spec: {holderIdentity: me}`},
	{"cluster role and binding", `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: everything}
rules: [{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: everybody}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: everything}
subjects: [{kind: Group, apiGroup: rbac.authorization.k8s.io, name: "system:authenticated"}]`},
	{"role and binding", `apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: r, namespace: kube-system}
rules: [{apiGroups: [""], resources: [secrets], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: r, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}
subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: jane}]`},
	{"role that is aggregated to admin", `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: more, labels: {rbac.authorization.k8s.io/aggregate-to-admin: "true"}}
rules: [{apiGroups: [example.com], resources: [widgets], verbs: ["*"]}]`},
	{"aggregated role", `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: sum}
aggregationRule: {clusterRoleSelectors: [{matchLabels: {rbac.authorization.k8s.io/aggregate-to-view: "true"}}]}
rules: []`},
	{"validating webhook that never answers", `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: broken}
webhooks:
- name: broken.example.com
  clientConfig: {url: "https://127.0.0.1:1/"}
  rules: [{apiGroups: ["*"], apiVersions: ["*"], operations: ["*"], resources: ["*"]}]
  sideEffects: None
  admissionReviewVersions: [v1]
  timeoutSeconds: 1
  failurePolicy: Fail`},
	{"mutating webhook that never answers", `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: broken}
webhooks:
- name: broken.example.com
  clientConfig: {url: "https://127.0.0.1:1/"}
  rules: [{apiGroups: ["*"], apiVersions: ["*"], operations: ["*"], resources: ["*"]}]
  sideEffects: None
  admissionReviewVersions: [v1]
  timeoutSeconds: 1
  failurePolicy: Fail`},
	{"validating policy without a binding", `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: deny}
spec:
  failurePolicy: Fail
  matchConstraints: {resourceRules: [{apiGroups: ["*"], apiVersions: ["*"], operations: [CREATE, UPDATE, DELETE], resources: ["*"]}]}
  validations: [{expression: "false"}]`},
	{"validating policy with a binding", `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: deny}
spec:
  failurePolicy: Fail
  matchConstraints: {resourceRules: [{apiGroups: ["*"], apiVersions: ["*"], operations: [CREATE, UPDATE, DELETE], resources: ["*"]}]}
  validations: [{expression: "false"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: deny}
spec: {policyName: deny, validationActions: [Deny]}`},
	{"binding without a policy", `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: deny}
spec: {policyName: deny, validationActions: [Deny]}`},
	{"mutating policy with a binding", `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: label}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: ["*"], operations: [CREATE], resources: [pods]}]}
  mutations: [{patchType: ApplyConfiguration, applyConfiguration: {expression: 'Object{metadata: Object.metadata{labels: {"l": "v"}}}'}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: label}
spec: {policyName: label}`},
	{"API service without a server", `apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.nowhere.example.com}
spec: {group: nowhere.example.com, version: v1, groupPriorityMinimum: 100, versionPriority: 100, insecureSkipTLSVerify: true, service: {namespace: default, name: nowhere}}`},
	{"CRD with integers", `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}}
---
apiVersion: example.com/v1
kind: Widget
metadata: {name: a, namespace: default}
spec: {size: 1}`},
	{"CRD with strings of the same name", `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: string}}}}}}}
---
apiVersion: example.com/v1
kind: Widget
metadata: {name: a, namespace: default}
spec: {size: "big"}`},
	{"cluster-scoped CRD of the same name", `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Cluster
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}}
---
apiVersion: example.com/v1
kind: Widget
metadata: {name: a}
spec: {size: 1}`},
	{"CRD of the same name with another version", `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - {name: v2, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: boolean}}}}}}}
---
apiVersion: example.com/v2
kind: Widget
metadata: {name: a, namespace: default}
spec: {size: true}`},
	{"CRD of the same name with two versions", `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}}
  - {name: v2, served: true, storage: false, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}}
---
apiVersion: example.com/v1
kind: Widget
metadata: {name: a, namespace: default}
spec: {size: 1}
---
apiVersion: example.com/v2
kind: Widget
metadata: {name: b, namespace: default}
spec: {size: 2}`},
	{"CRD of the same name with another kind", `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Gadget}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}}
---
apiVersion: example.com/v1
kind: Gadget
metadata: {name: a, namespace: default}
spec: {size: 1}`},
	{"CRD with short names and categories", `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd], categories: [all]}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}}
---
apiVersion: example.com/v1
kind: Widget
metadata: {name: a, namespace: default}
spec: {size: 1}`},
	{"CRD with subresources", `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}, subresources: {status: {}}}
---
apiVersion: example.com/v1
kind: Widget
metadata: {name: a, namespace: default}
spec: {size: 1}`},
	{"custom resource with a finalizer", `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}}
---
apiVersion: example.com/v1
kind: Widget
metadata: {name: a, namespace: default, finalizers: [example.com/keep]}
spec: {size: 1}`},
	{"CRD without custom resources", `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}}`},
	{"custom resources in a namespace of their own", `apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}}
---
apiVersion: example.com/v1
kind: Widget
metadata: {name: a, namespace: team}
spec: {size: 1}
---
apiVersion: example.com/v1
kind: Widget
metadata: {name: b, namespace: team}
spec: {size: 2}`},
	{"deployment", `apiVersion: apps/v1
kind: Deployment
metadata: {name: a, namespace: default}
spec: {replicas: 3, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}`},
	{"replica set", `apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: a, namespace: default}
spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}`},
	{"stateful set", `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: a, namespace: default}
spec: {serviceName: s, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}`},
	{"daemon set", `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: a, namespace: default}
spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}`},
	{"replication controller", `apiVersion: v1
kind: ReplicationController
metadata: {name: a, namespace: default}
spec: {selector: {a: b}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}`},
	{"job", `apiVersion: batch/v1
kind: Job
metadata: {name: a, namespace: default}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}`},
	{"cron job", `apiVersion: batch/v1
kind: CronJob
metadata: {name: a, namespace: default}
spec: {schedule: "* * * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}}`},
	{"autoscaler and disruption budget", `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: a, namespace: default}
spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: a}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: a, namespace: default}
spec: {minAvailable: 1, selector: {matchLabels: {a: b}}}`},
	{"ingress, its class and a network policy", `apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: c, annotations: {ingressclass.kubernetes.io/is-default-class: "true"}}
spec: {controller: example.com/i}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: a, namespace: default}
spec: {defaultBackend: {service: {name: s, port: {number: 80}}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: a, namespace: default}
spec: {podSelector: {}}`},
	{"service CIDR", `apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: more}
spec: {cidrs: [10.99.0.0/24]}`},
	{"priority class by default", `apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 1000
globalDefault: true`},
	{"runtime class", `apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: gvisor}
handler: runsc
overhead: {podFixed: {memory: 1Mi}}`},
	{"flow schema and priority level", `apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: slow}
spec: {type: Limited, limited: {nominalConcurrencyShares: 1, limitResponse: {type: Reject}}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: slow}
spec:
  priorityLevelConfiguration: {name: slow}
  matchingPrecedence: 2
  rules: [{subjects: [{kind: Group, group: {name: "system:masters"}}], resourceRules: [{verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: ["*"], clusterScope: true}]}]`},
}
