// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package durable

func separateMounts() error { return nil }
