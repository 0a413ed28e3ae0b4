//go:build !linux

package etcd_test

import "errors"

func limited(string) error { return errors.New("only on Linux") }
