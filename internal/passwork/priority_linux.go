package passwork

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// yieldThread makes the calling thread, and the processes that it starts, work on what others leave: niceness, and a
// policy under which it does not interrupt whoever runs. A real-time priority that an operator has given to the server
// is not handed down: a flood of logins would have it too. What the system refuses is done without.
func yieldThread() {
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH, Nice: niceness}, 0)
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, syscall.Gettid(), niceness)
}
