package etcd

import (
	"time"

	"go.uber.org/zap"
)

// ContainedLogger is the logger that etcd uses.
func (m *Member) ContainedLogger() *zap.Logger { return m.etcd.GetLogger() }

// SetFree is another answer of the file system, which is looked at at once.
func (m *Member) SetFree(bytes int64) {
	m.upkeep.space.free = func(string) (int64, bool) { return bytes, true }
	m.upkeep.space.next.Store(0)
}

// CheckTail checks the end of a log.
var CheckTail = checkTail

// Connections is how many connections the client of a member has to an address.
func Connections(m *Member, addr string) int {
	d := m.network.dialer
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.open[addr])
}

// Turns are those of a member that wants to defragment from now on.
type Turns struct{ upkeep *upkeep }

func NewTurns(m *Member) Turns { return Turns{&upkeep{server: m.etcd.Server}} }

// Until is how long it is at now until the next.
func (t Turns) Until(now time.Time) time.Duration { return t.upkeep.untilTurn(now) }

// SetCloseTimeout is for members that are closed from now on.
func SetCloseTimeout(d time.Duration) (restore func()) {
	was := closeTimeout
	closeTimeout = d
	return func() { closeTimeout = was }
}
