// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

const plaintext = "hush-this-is-the-plaintext"

func key(n byte, size int) []byte { return bytes.Repeat([]byte{n}, size) }

// encrypted are the values that a test writes, by resource.
var encrypted = []string{"secrets", "configmaps", "widgets.example.com"}

// writePlaintext writes it to a secret, a config map and a widget.
func writePlaintext(t *testing.T, server *controlplane.Server, name string) {
	t.Helper()
	ctx, client := t.Context(), admin(t, server)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"key": []byte(plaintext + "-secrets")}}
	if _, err := client.CoreV1().Secrets("default").Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"key": plaintext + "-configmaps"}}
	if _, err := client.CoreV1().ConfigMaps("default").Create(ctx, configMap, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	createWidgets(t, server)
	widget := newWidget(name)
	if err := unstructured.SetNestedField(widget.Object, plaintext+"-widgets.example.com", "spec", "size"); err != nil {
		t.Fatal(err)
	}
	if _, err := widgets(t, server).Create(ctx, widget, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// readPlaintext returns errors for values of writePlaintext that cannot be read.
func readPlaintext(t *testing.T, server *controlplane.Server, name string) {
	t.Helper()
	ctx, client := t.Context(), admin(t, server)
	secret, err := client.CoreV1().Secrets("default").Get(ctx, name, metav1.GetOptions{})
	if err != nil || string(secret.Data["key"]) != plaintext+"-secrets" {
		t.Errorf("secret: got %v, %q, want %s", err, secret.Data, plaintext+"-secrets")
	}
	configMap, err := client.CoreV1().ConfigMaps("default").Get(ctx, name, metav1.GetOptions{})
	if err != nil || configMap.Data["key"] != plaintext+"-configmaps" {
		t.Errorf("config map: got %v, %q, want %s", err, configMap.Data, plaintext+"-configmaps")
	}
	widget, err := widgets(t, server).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		t.Errorf("widget: %v", err)
	} else if size, _, _ := unstructured.NestedString(widget.Object, "spec", "size"); size != plaintext+"-widgets.example.com" {
		t.Errorf("widget: got %q, want %s", size, plaintext+"-widgets.example.com")
	}
}

// grep returns the files below dir that contain text: "db", "wal", and others.
func grep(t *testing.T, dir, text string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.Contains(data, []byte(text)) {
			name := filepath.Base(path)
			if ext := filepath.Ext(name); ext != "" {
				name = ext[1:]
			}
			found[name] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestEncryptionAtRest searches all files on the disk for the plaintext. Without
// encryption it is in the database and in the log.
func TestEncryptionAtRest(t *testing.T) {
	for name, encryption := range map[string]apiserver.Encryption{
		"off":       {},
		"secrets":   {Keys: []apiserver.EncryptionKey{{Secretbox: key(1, 32)}}},
		"secretbox": {Resources: encrypted, Keys: []apiserver.EncryptionKey{{Secretbox: key(1, 32)}}},
		"aesgcm":    {Resources: []string{"*.*"}, Keys: []apiserver.EncryptionKey{{AESGCM: key(1, 16)}}},
		"kms":       {Resources: []string{"secrets", "configmaps", "*.example.com"}, Keys: []apiserver.EncryptionKey{{KMS: startKMS(t).config()}}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			cfg := controlplane.Config{DataDir: dir, Encryption: encryption}
			server := start(t, cfg)
			writePlaintext(t, server, "first")
			readPlaintext(t, server, "first")
			for _, secret := range []string{string(key(1, 16)), base64.StdEncoding.EncodeToString(key(1, 15))} {
				if found := grep(t, dir, secret); len(found) > 0 {
					t.Errorf("files with the key: got %v, want none", found)
				}
			}
			closeServer(t, server)
			for _, resource := range encrypted {
				clear := name == "off" || name == "secrets" && resource != "secrets"
				found := grep(t, dir, plaintext+"-"+resource)
				if found["db"] != clear || found["wal"] != clear || !clear && len(found) > 0 {
					t.Errorf("%s in the clear: want %t, found in %v", resource, clear, found)
				}
			}
			server = start(t, cfg)
			readPlaintext(t, server, "first")
		})
	}
}

// TestEncryptionKeyRotation follows the documentation: from no key to one, to one of
// another kind, and back to none.
func TestEncryptionKeyRotation(t *testing.T) {
	dir := t.TempDir()
	one, two := apiserver.EncryptionKey{Secretbox: key(1, 32)}, apiserver.EncryptionKey{AESGCM: key(2, 32)}
	clear := start(t, controlplane.Config{DataDir: dir})
	writePlaintext(t, clear, "first")
	if n, err := clear.Reencrypt(t.Context()); n != 0 || err != nil {
		t.Errorf("objects written without encryption: got %d, %v, want 0", n, err)
	}
	closeServer(t, clear)
	for _, step := range []struct {
		name       string
		encryption apiserver.Encryption
		writes     bool
	}{
		{"the first key", apiserver.Encryption{Resources: encrypted, Keys: []apiserver.EncryptionKey{one}}, true},
		{"the second key for reading", apiserver.Encryption{Resources: encrypted, Keys: []apiserver.EncryptionKey{one, two}}, false},
		{"the second key for writing", apiserver.Encryption{Resources: encrypted, Keys: []apiserver.EncryptionKey{two, one}}, true},
		{"the first key dropped", apiserver.Encryption{Resources: encrypted, Keys: []apiserver.EncryptionKey{two}}, false},
		{"a resource less", apiserver.Encryption{Resources: encrypted[:2], Keys: []apiserver.EncryptionKey{two}}, true},
		{"everything", apiserver.Encryption{Resources: []string{"*.*"}, Keys: []apiserver.EncryptionKey{two}}, true},
		{"in the clear", apiserver.Encryption{Keys: []apiserver.EncryptionKey{two}, WritePlaintext: true}, true},
		{"no key", apiserver.Encryption{}, false},
	} {
		server := start(t, controlplane.Config{DataDir: dir, Encryption: step.encryption})
		readPlaintext(t, server, "first")
		written, err := server.Reencrypt(t.Context())
		if err != nil || (written > 0) != step.writes {
			t.Errorf("%s: got %d objects written, %v, want some: %t", step.name, written, err, step.writes)
		}
		readPlaintext(t, server, "first")
		if again, err := server.Reencrypt(t.Context()); again != 0 || err != nil {
			// Leases are written all the time, by then with the right key.
			t.Errorf("%s: got %d objects written again, %v, want 0", step.name, again, err)
		}
		closeServer(t, server)
		if t.Failed() {
			t.Fatal(step.name)
		}
	}
}

// TestReencryptBesideWriters loses no update.
func TestReencryptBesideWriters(t *testing.T) {
	dir := t.TempDir()
	server := start(t, controlplane.Config{DataDir: dir})
	secrets, ctx := admin(t, server).CoreV1().Secrets("default"), t.Context()
	const objects = 50
	for i := range objects {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("s", i)}, StringData: map[string]string{"count": "0"}}
		if _, err := secrets.Create(ctx, secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	closeServer(t, server)

	server = start(t, controlplane.Config{DataDir: dir, Encryption: apiserver.Encryption{Keys: []apiserver.EncryptionKey{{Secretbox: key(1, 32)}}}})
	secrets = admin(t, server).CoreV1().Secrets("default")
	stop := make(chan struct{})
	counted := make(chan map[string]int, 1)
	go func() {
		counts := map[string]int{}
		defer func() { counted <- counts }()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			name := fmt.Sprint("s", i%objects)
			secret, err := secrets.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			secret.Data["count"] = []byte(fmt.Sprint(counts[name] + 1))
			switch _, err := secrets.Update(ctx, secret, metav1.UpdateOptions{}); {
			case apierrors.IsConflict(err): // with Reencrypt
			case err != nil:
				t.Error(err)
				return
			default:
				counts[name]++
			}
		}
	}()
	_, err := server.Reencrypt(ctx)
	close(stop)
	counts := <-counted
	if err != nil {
		t.Fatal(err)
	}
	for i := range objects {
		name := fmt.Sprint("s", i)
		if secret, err := secrets.Get(ctx, name, metav1.GetOptions{}); err != nil || string(secret.Data["count"]) != fmt.Sprint(counts[name]) {
			t.Errorf("%s: %v, %q, want %d", name, err, secret.Data, counts[name])
		}
	}
	if n, err := server.Reencrypt(ctx); n != 0 || err != nil {
		t.Errorf("objects left out: got %d, %v, want 0", n, err)
	}
}

// TestStartWithoutTheKey: the start fails at once and names the object that needs the
// key.
func TestStartWithoutTheKey(t *testing.T) {
	dir := t.TempDir()
	right := apiserver.EncryptionKey{Secretbox: key(1, 32)}
	server := start(t, controlplane.Config{DataDir: dir, Encryption: apiserver.Encryption{Resources: encrypted, Keys: []apiserver.EncryptionKey{right}}})
	writePlaintext(t, server, "first")
	closeServer(t, server)

	for name, encryption := range map[string]apiserver.Encryption{
		"no key":              {},
		"another":             {Keys: []apiserver.EncryptionKey{{Secretbox: key(2, 32)}}},
		"another of its name": {Keys: []apiserver.EncryptionKey{{Secretbox: key(2, 32), Name: "72cd6e84"}}},
		"another kind":        {Keys: []apiserver.EncryptionKey{{AESGCM: key(1, 32)}}},
		"another, everything": {Resources: []string{"*.*"}, Keys: []apiserver.EncryptionKey{{AESGCM: key(1, 32)}}},
	} {
		_, err := controlplane.Start(t.Context(), controlplane.Config{DataDir: dir, Encryption: encryption})
		if !errors.Is(err, apiserver.ErrUndecryptable) || !strings.Contains(err.Error(), "Config.Encryption: /registry/") ||
			!strings.Contains(err.Error(), `a secretbox key named "72cd6e84"`) || strings.Contains(err.Error(), string(key(2, 8))) {
			t.Errorf("%s: got %v, want ErrUndecryptable with the name of the key, without the key", name, err)
		}
	}
	server = start(t, controlplane.Config{DataDir: dir, Encryption: apiserver.Encryption{Resources: encrypted, Keys: []apiserver.EncryptionKey{right}}})
	readPlaintext(t, server, "first")
}

func TestEncryptionIsValidated(t *testing.T) {
	secret := []byte("!thirty-two-bytes-of-a-real-key!")
	for want, encryption := range map[string]apiserver.Encryption{
		"Encryption.Keys: Required value":                           {Resources: []string{"secrets"}},
		"Encryption.Keys[1]: Invalid value: must have one of":       {Keys: []apiserver.EncryptionKey{{Secretbox: secret}, {Name: "second"}}},
		"Encryption.Keys[0]: Invalid value: must have one of":       {Keys: []apiserver.EncryptionKey{{Secretbox: secret, AESGCM: secret}}},
		"Encryption.Keys[0].Secretbox: Invalid value: it has 31":    {Keys: []apiserver.EncryptionKey{{Secretbox: secret[:31]}}},
		"Encryption.Keys[0].AESGCM: Invalid value: it has 33":       {Keys: []apiserver.EncryptionKey{{AESGCM: append(secret, '!')}}},
		"Encryption.Keys[1].Name: Duplicate value":                  {Keys: []apiserver.EncryptionKey{{Secretbox: secret}, {Secretbox: secret}}},
		"Encryption.Keys[0].Name: Invalid value":                    {Keys: []apiserver.EncryptionKey{{Name: "a:b", Secretbox: secret}}},
		"Encryption.Keys[0].KMS.Endpoint: Invalid value":            {Keys: []apiserver.EncryptionKey{{KMS: apiserver.KMS{Endpoint: "/run/kms.sock"}}}},
		"Encryption.Keys[0].KMS.Timeout: Invalid value":             {Keys: []apiserver.EncryptionKey{{KMS: apiserver.KMS{Endpoint: "unix:///k", Timeout: -1}}}},
		"Encryption.Resources[0]: Invalid value":                    {Resources: []string{"Secrets"}, Keys: []apiserver.EncryptionKey{{Secretbox: secret}}},
		"Encryption.Resources: Invalid value":                       {Resources: []string{"secrets", "*.*"}, Keys: []apiserver.EncryptionKey{{Secretbox: secret}}},
		"Encryption.Resources[0]: Invalid value: \"*.events.k8s.io": {Resources: []string{"*.events.k8s.io"}, Keys: []apiserver.EncryptionKey{{Secretbox: secret}}},
	} {
		err := controlplane.Config{Encryption: encryption}.Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		} else if strings.Contains(err.Error(), "thirty") || strings.Contains(err.Error(), fmt.Sprint(secret[:4])) {
			t.Errorf("got an error with the key, want one without: %v", err)
		}
	}
}

// TestKMS: the service rotates the key, and readiness reports when it is unavailable.
func TestKMS(t *testing.T) {
	dir := t.TempDir()
	kms := startKMS(t)
	encryption := apiserver.Encryption{Resources: encrypted, Keys: []apiserver.EncryptionKey{{KMS: kms.config()}}}
	server := start(t, controlplane.Config{DataDir: dir, Encryption: encryption})
	writePlaintext(t, server, "first")
	if n, err := server.Reencrypt(t.Context()); n != 0 || err != nil {
		t.Fatalf("objects written: got %d, %v, want 0", n, err)
	}
	closeServer(t, server)

	kms.generation.Add(1)
	server = start(t, controlplane.Config{DataDir: dir, Encryption: encryption})
	readPlaintext(t, server, "first")
	if n, err := server.Reencrypt(t.Context()); n == 0 || err != nil {
		t.Fatalf("objects written with the new key: got %d, %v, want some", n, err)
	}
	kms.forgotten.Store(1)
	closeServer(t, server)
	server = start(t, controlplane.Config{DataDir: dir, Encryption: encryption})
	readPlaintext(t, server, "first")

	ready := func(path string) error {
		return admin(t, server).RESTClient().Get().AbsPath(path).Do(t.Context()).Error()
	}
	if err := errors.Join(ready("/readyz/kms-providers"), ready("/healthz/kms-providers")); err != nil {
		t.Fatal(err)
	}
	kms.stop()
	testwait.Until(t, "/readyz", func(context.Context) error {
		if ready("/readyz") == nil {
			return errors.New("is green without the KMS")
		}
		return nil
	})
	if err := ready("/livez"); err != nil {
		t.Errorf("/livez: %v", err)
	}
	kms.serve(t)
	testwait.Until(t, "/readyz", func(context.Context) error {
		if err := ready("/readyz"); err != nil {
			return errors.New(err.Error())
		}
		return nil
	})
	closeServer(t, server)

	kms.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	_, err := controlplane.Start(ctx, controlplane.Config{DataDir: dir, Encryption: encryption})
	if err == nil || !strings.Contains(err.Error(), "Config.Encryption: the KMS does not answer") {
		t.Errorf("Start without the KMS: got %v, want that it does not answer", err)
	}
}
