// Package passwork does the expensive work on passwords in a child process of low priority, so that a flood of logins
// takes what the cores have left over and neither the garbage collector nor the scheduler of the server notices. It is
// the same binary, started when the first password comes and ended when none came for a while. Where no child can be
// started the work is done in the server itself. It knows the rules of account and nothing else. Start with pool.go.
package passwork
