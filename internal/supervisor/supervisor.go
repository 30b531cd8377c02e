// Package supervisor tells the service manager that started this process how it is:
// ready, alive, stopping. It speaks systemd's protocol (sd_notify(3)) and is silent
// where nobody listens. It knows nothing of what the process does.
package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Watched tells the service manager that the process is ready, and from then on, in
// time for its watchdog (WatchdogSec), that it lives; when ctx ends, that it stops.
// It returns then. alive is called before each sign of life: while it does not return
// there is none, and the service manager starts the process anew.
func Watched(ctx context.Context, log *slog.Logger, alive func()) {
	told := tell(log, daemon.SdNotifyReady)
	defer tell(log, daemon.SdNotifyStopping)
	within, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the service manager's watchdog is not answered: WATCHDOG_USEC cannot be read", "error", err)
	}
	if !told || within <= 0 {
		<-ctx.Done()
		return
	}
	// Half of the time, as sd_watchdog_enabled(3) advises.
	tick := time.NewTicker(within / 2)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			alive()
			tell(log, daemon.SdNotifyWatchdog)
		}
	}
}

// Status sets the line that the service manager shows of the process.
func Status(log *slog.Logger, format string, args ...any) {
	tell(log, "STATUS="+fmt.Sprintf(format, args...))
}

// tell reports whether somebody listens.
func tell(log *slog.Logger, state string) bool {
	told, err := daemon.SdNotify(false, state)
	if err != nil {
		log.Warn("the service manager could not be told", "state", state, "error", err)
	}
	return told
}
