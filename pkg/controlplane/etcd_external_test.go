// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	etcdutl "go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/etcdtest"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

func wantConfigMap(t *testing.T, server *controlplane.Server, name, value string) {
	t.Helper()
	got, err := admin(t, server).CoreV1().ConfigMaps("default").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil || got.Data["v"] != value {
		t.Errorf("%s is %v, %v, want %q", name, got.Data, err, value)
	}
}

// TestMoveIn: a member in this process continues with the objects of an external etcd.
func TestMoveIn(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t)
	server := start(t, controlplane.Config{Etcd: controlplane.Etcd{Endpoints: []string{e.Endpoint()}, Prefix: "/mine"}})
	putConfigMap(t, admin(t, server), "kept", "x")
	ca := server.CABundle()
	data := snapshotOf(t, server)
	closeServer(t, server)

	dir := filepath.Join(t.TempDir(), "data")
	if err := controlplane.Restore(t.Context(), dir, bytes.NewReader(data), controlplane.RestoreConfig{}); err != nil {
		t.Fatal(err)
	}
	server = start(t, controlplane.Config{DataDir: dir, Etcd: controlplane.Etcd{Prefix: "/mine"}})
	wantConfigMap(t, server, "kept", "x")
	putConfigMap(t, admin(t, server), "kept", "y")
	if !bytes.Equal(server.CABundle(), ca) {
		t.Error("got another CA, want the same")
	}
	if about := string(unpack(t, data)["snapshot.json"]); lacks(about, `"prefix": "/mine"`, `"serviceCIDR": "10.0.0.0/24"`) != "" {
		t.Errorf("snapshot.json: got %s, want the prefix and the CIDR of the Services", about)
	}
}

// TestMoveOut: an external etcd, which etcdutl has restored from a snapshot, continues
// with the objects of a member in this process.
func TestMoveOut(t *testing.T) {
	t.Parallel()
	server := start(t, controlplane.Config{})
	putConfigMap(t, admin(t, server), "kept", "x")
	files := unpack(t, snapshotOf(t, server))
	closeServer(t, server)

	database := filepath.Join(t.TempDir(), "etcd.db")
	if err := os.WriteFile(database, files["etcd.db"], 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "elsewhere")
	// Like "etcdutl snapshot restore etcd.db --data-dir DIR".
	err := etcdutl.NewV3(zap.NewNop()).Restore(etcdutl.RestoreConfig{
		SnapshotPath: database, OutputDataDir: dir, Name: "default",
		PeerURLs: []string{"http://localhost:2380"}, InitialCluster: "default=http://localhost:2380", InitialClusterToken: "etcd-cluster",
	})
	if err != nil {
		t.Fatal(err)
	}
	e := etcdtest.StartOn(t, dir)
	server = start(t, controlplane.Config{Etcd: controlplane.Etcd{Endpoints: []string{e.Endpoint()}}, PKI: files["pki.pem"]})
	wantConfigMap(t, server, "kept", "x")
	putConfigMap(t, admin(t, server), "kept", "y")
}

// TestStatusOfEtcdElsewhere: the size, and the alarm when it has run out of space.
func TestStatusOfEtcdElsewhere(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t)
	server := start(t, controlplane.Config{Etcd: controlplane.Etcd{Endpoints: []string{e.Endpoint()}}})
	client := admin(t, server)
	status, err := server.EtcdStatus(t.Context())
	if err != nil || status.Version == "" || status.MemberID == 0 || status.Leader == 0 || status.Revision == 0 ||
		status.SizeBytes == 0 || status.InUseBytes == 0 || len(status.Alarms) > 0 {
		t.Errorf("status: got %+v, %v, want every field set and no alarm", status, err)
	}
	if text := spaceCheck(t, client); text != "" {
		t.Errorf("the readiness check: got %s, want it green", text)
	}
	direct := e.Client(t)
	if _, err := direct.Get(t.Context(), "x"); err != nil { // connects
		t.Fatal(err)
	}
	if _, err := pb.NewMaintenanceClient(direct.ActiveConnection()).Alarm(t.Context(),
		&pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE, MemberID: status.MemberID}); err != nil {
		t.Fatal(err)
	}
	if missing := lacks(spaceCheck(t, client), "NOSPACE", "writes are refused", "free space with etcdctl"); missing != "" {
		t.Errorf("the readiness check: got %q, want %q in it", spaceCheck(t, client), missing)
	}
	if err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(t.Context()).Error(); err == nil {
		t.Error("/readyz: got no error, want one")
	}
	if status, err := server.EtcdStatus(t.Context()); err != nil || len(status.Alarms) != 1 || status.Alarms[0] != "NOSPACE" {
		t.Errorf("status: got %+v, %v, want the alarm NOSPACE", status, err)
	}
	if _, err := direct.AlarmDisarm(t.Context(), &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	dataCheck := func() string {
		data, err := client.Discovery().RESTClient().Get().AbsPath("/readyz/etcd-data").DoRaw(t.Context())
		if err == nil {
			return ""
		}
		return err.Error() + string(data)
	}
	corrupt := &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_CORRUPT, MemberID: status.MemberID}
	if _, err := pb.NewMaintenanceClient(direct.ActiveConnection()).Alarm(t.Context(), corrupt); err != nil {
		t.Fatal(err)
	}
	if dataCheck() == "" {
		t.Error("the readiness check of the data: got it green, want it red under the alarm CORRUPT")
	}
	corrupt.Action = pb.AlarmRequest_DEACTIVATE
	if _, err := pb.NewMaintenanceClient(direct.ActiveConnection()).Alarm(t.Context(), corrupt); err != nil {
		t.Fatal(err)
	}
	if text := dataCheck(); text != "" {
		t.Error(text)
	}
	if text := spaceCheck(t, client); text != "" {
		t.Errorf("the readiness check after the alarm: got %s, want it green", text)
	}
	putConfigMap(t, client, "after", "x")
}
