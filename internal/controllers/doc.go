// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers
