package apiserver

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// serverCount is what upstream is told of how many servers there are. More than one
// has the same effect, whatever the number: definitions of custom resources wait
// until the other servers have them.
func (c Config) serverCount() int {
	if c.Shared {
		return 2
	}
	return 1
}

// serverID tells this server from others on the same etcd. Upstream's has the
// machine's name only, and two servers may be on one machine.
func (c Config) serverID() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("apiserver: the machine's name: %w", err)
	}
	_, port, err := net.SplitHostPort(c.Listener.Addr().String())
	if err != nil {
		return "", fieldpath.New("apiserver", "Config.Listener", "%w", err)
	}
	sum := sha256.Sum256([]byte(host + "\n" + net.JoinHostPort(c.AdvertiseAddress.String(), port)))
	return "apiserver-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16])), nil
}
