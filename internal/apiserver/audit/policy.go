// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/ownership"
)

// defaultPolicy applies without a policy: upstream would log nothing.
var defaultPolicy = &auditv1.Policy{
	OmitStages: []auditv1.Stage{auditv1.StageRequestReceived},
	Rules:      []auditv1.PolicyRule{{Level: auditv1.LevelMetadata}},
}

// ValidatePolicy reports what upstream refuses in a policy.
func ValidatePolicy(p *auditv1.Policy) error {
	data, err := encodePolicy(p)
	if err == nil {
		_, err = policy.LoadPolicyFromBytes(data)
	}
	return err
}

// CheckPolicyFile refuses a file that other users control, or that has no policy.
func CheckPolicyFile(path string) error {
	if err := ownership.File(path); err != nil {
		return err
	}
	if _, err := policy.LoadPolicyFromFile(path); err != nil {
		return fmt.Errorf("%w: write an audit.k8s.io/v1 Policy with at least one rule", err)
	}
	return nil
}

// CheckStrictly refuses a policy with fields that upstream only warns of. A misspelt
// "resources" would make a rule one for all requests.
func CheckStrictly(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	_, _, err = strict.Decode(data, nil, &auditinternal.Policy{})
	if runtime.IsStrictDecodingError(err) {
		return err
	}
	return nil // upstream reports the rest
}

var strict = serializer.NewCodecFactory(audit.Scheme, serializer.EnableStrict).UniversalDecoder()

// encodePolicy returns a policy as a file has it. TypeMeta may be empty.
func encodePolicy(p *auditv1.Policy) ([]byte, error) {
	encoded := *p
	if encoded.APIVersion == "" {
		encoded.APIVersion = auditv1.SchemeGroupVersion.String()
	}
	if encoded.Kind == "" {
		encoded.Kind = "Policy"
	}
	return json.Marshal(encoded)
}

// policyFile returns a file with a policy that upstream accepts.
func (o Options) policyFile(dir string) (string, error) {
	if o.PolicyFile != "" {
		if err := CheckPolicyFile(o.PolicyFile); err != nil {
			return "", fieldpath.New("apiserver", "Config.Audit.PolicyFile", "%w", err)
		}
		return o.PolicyFile, nil
	}
	p := o.Policy
	if p == nil {
		p = defaultPolicy
	}
	file := filepath.Join(dir, "audit-policy.json")
	data, err := encodePolicy(p)
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("apiserver: audit policy: %w", err)
	}
	return file, nil
}
