package apiserver

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	storagevalue "k8s.io/apiserver/pkg/storage/value"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// everything is what upstream calls "*.*".
var everything = schema.GroupResource{Group: "*", Resource: "*"}

// encryptedPrefix begins what upstream's transformers write, and nothing else.
var encryptedPrefix = []byte("k8s:enc:")

// encryption is what Config.Encryption has become.
type encryption struct {
	Encryption
	keys         storagevalue.Transformer // writes with the first key, reads all and what is in the clear
	transformers encryptionconfig.StaticTransformers
	kms          []healthz.HealthChecker
}

// newEncryption is maybeApplyResourceTransformers of
// k8s.io/apiserver/pkg/server/options. It returns nil where nothing is to be
// encrypted. The connections to a KMS end when drained is closed.
func newEncryption(drained <-chan struct{}, config Encryption, dir, serverID string) (*encryption, error) {
	if len(config.Keys) == 0 {
		return nil, nil
	}
	e := &encryption{Encryption: config.withDefaults()}
	data, err := json.Marshal(e.file())
	if err != nil {
		return nil, fieldpath.New("apiserver", "Config.Encryption", "%w", err)
	}
	var loaded *encryptionconfig.EncryptionConfiguration
	if err := asFile(dir, data, func(path string) error {
		loaded, err = encryptionconfig.LoadEncryptionConfig(wait.ContextForChannel(drained), path, false, serverID)
		return err
	}); err != nil {
		return nil, fieldpath.New("apiserver", "Config.Encryption", "%w", err)
	}
	e.keys = loaded.Transformers[everything]
	for _, key := range e.Keys {
		if key.KMS.Endpoint != "" {
			e.kms = loaded.HealthChecks // upstream has one without
		}
	}
	e.transformers = encryptionconfig.StaticTransformers{everything: decrypting{e.keys}}
	if !e.WritePlaintext {
		for _, resource := range e.Resources {
			e.transformers[schema.ParseGroupResource(resource)] = e.keys
		}
	}
	return e, nil
}

// file is what kube-apiserver would be given, for all resources.
func (e *encryption) file() *apiserverv1.EncryptionConfiguration {
	var providers []apiserverv1.ProviderConfiguration
	for _, key := range e.Keys {
		keys := func(secret []byte) []apiserverv1.Key {
			return []apiserverv1.Key{{Name: key.Name, Secret: base64.StdEncoding.EncodeToString(secret)}}
		}
		var provider apiserverv1.ProviderConfiguration
		switch {
		case len(key.Secretbox) > 0:
			provider.Secretbox = &apiserverv1.SecretboxConfiguration{Keys: keys(key.Secretbox)}
		case len(key.AESGCM) > 0:
			provider.AESGCM = &apiserverv1.AESConfiguration{Keys: keys(key.AESGCM)}
		default:
			provider.KMS = &apiserverv1.KMSConfiguration{
				APIVersion: "v2", Name: key.Name, Endpoint: key.KMS.Endpoint, Timeout: &metav1.Duration{Duration: key.KMS.Timeout},
			}
		}
		providers = append(providers, provider)
	}
	return &apiserverv1.EncryptionConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: apiserverv1.SchemeGroupVersion.String(), Kind: "EncryptionConfiguration"},
		Resources: []apiserverv1.ResourceConfiguration{{
			Resources: []string{"*.*"},
			Providers: append(providers, apiserverv1.ProviderConfiguration{Identity: &apiserverv1.IdentityConfiguration{}}),
		}},
	}
}

// asFile hands data to what reads a file once, by its name. The keys in it should
// not reach the disk that they are to protect, so it is a pipe where the system
// gives those a name, and otherwise a file that is gone at once.
func asFile(dir string, data []byte, read func(path string) error) error {
	if r, w, err := os.Pipe(); err == nil {
		defer func() { _ = r.Close() }()
		name := fmt.Sprintf("/dev/fd/%d", r.Fd())
		if info, err := os.Stat(name); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
			written := make(chan struct{})
			go func() {
				defer close(written)
				_, _ = w.Write(data) // too little is no JSON
				_ = w.Close()
			}()
			err := read(name)
			_ = r.Close() // ends a Write that nobody reads
			<-written
			return err
		}
		_ = w.Close()
	}
	path := filepath.Join(dir, "encryption.json")
	defer func() { _ = os.Remove(path) }()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return err
	}
	return read(path)
}

// decrypting is for resources that are not encrypted, and may once have been.
type decrypting struct{ keys storagevalue.Transformer }

func (d decrypting) TransformFromStorage(ctx context.Context, data []byte, at storagevalue.Context) ([]byte, bool, error) {
	if !bytes.HasPrefix(data, encryptedPrefix) {
		return data, false, nil
	}
	out, _, err := d.keys.TransformFromStorage(ctx, data, at)
	return out, true, err
}

func (d decrypting) TransformToStorage(_ context.Context, data []byte, _ storagevalue.Context) ([]byte, error) {
	return data, nil
}

// encrypts tells whether objects of a resource are written encrypted.
func (e *encryption) encrypts(resource schema.GroupResource) bool {
	for _, rule := range []schema.GroupResource{resource, {Group: resource.Group, Resource: "*"}, everything} {
		if transformer, ok := e.transformers[rule]; ok {
			return transformer == e.keys
		}
	}
	return false
}
