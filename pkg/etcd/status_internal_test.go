// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestAlarmsOfAllEtcds: the text form of an alarm depends on the generator of etcd's
// messages; that of etcd 3.7 inserts spaces at random.
func TestAlarmsOfAllEtcds(t *testing.T) {
	for text, want := range map[string]pb.AlarmType{
		`memberID:10501334649042878790 alarm:NOSPACE `:                       pb.AlarmType_NOSPACE, // etcd 3.6
		`memberID:1  alarm:CORRUPT`:                                          pb.AlarmType_CORRUPT, // etcd 3.7
		`alarm: NOSPACE`:                                                     pb.AlarmType_NOSPACE,
		`memberID:1 alarm:CORRUPT since:"a later etcd"`:                      pb.AlarmType_CORRUPT,
		(&pb.AlarmMember{MemberID: 1, Alarm: pb.AlarmType_NOSPACE}).String(): pb.AlarmType_NOSPACE,
		`etcdserver: no leader`:                                              pb.AlarmType_NONE,
		`the member said alarm:NOSPACE`:                                      pb.AlarmType_NONE,
		`etcdserver: not capable`:                                            pb.AlarmType_NONE,
	} {
		if got := alarmIn(text); got != want {
			t.Errorf("%q has the alarm %v, want %v", text, got, want)
		}
	}
}
