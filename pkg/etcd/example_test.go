// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/kubembed/kubembed/pkg/etcd"
)

func Example() {
	dir, err := os.MkdirTemp("", "etcd-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	ctx := context.Background()
	member, err := etcd.Start(ctx, etcd.Config{Dir: dir, Ephemeral: true})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = member.Close() }()

	if _, err := member.Client().Put(ctx, "greeting", "hello"); err != nil {
		log.Fatal(err)
	}
	resp, err := member.Client().Get(ctx, "greeting")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", resp.Kvs[0].Value)
	// Output: hello
}
