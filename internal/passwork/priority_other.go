//go:build !linux

package passwork

import "syscall"

// yieldThread lowers the priority of the process to be started.
func yieldThread() { _ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, niceness) }
