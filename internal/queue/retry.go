package queue

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// maxBackoff is the longest pause between two attempts.
const maxBackoff = time.Hour

// Backoff is the usual pause before the next attempt: 2 s after the first failure, then twice as long each time, an
// hour at most.
func Backoff(failures int) time.Duration {
	if failures < 1 {
		failures = 1
	}
	if failures > 11 {
		return maxBackoff
	}
	return min(time.Second<<failures, maxBackoff)
}

// jitter spreads d over 80 to 120 %, so that what failed together does not come back together.
func jitter(d time.Duration) time.Duration {
	return d*4/5 + time.Duration(rand.Int64N(int64(d)*2/5+1))
}

func nextRetry(row *rivertype.JobRow, backoff func(int) time.Duration, now time.Time) time.Time {
	if backoff == nil {
		backoff = Backoff
	}
	return now.Add(jitter(min(max(backoff(len(row.Errors)+1), time.Second), maxBackoff)))
}

// retryPolicy serves kinds that this process does not know; the others ask their own worker.
type retryPolicy struct{}

// NextRetry implements river.ClientRetryPolicy.
func (retryPolicy) NextRetry(row *rivertype.JobRow) time.Time { return nextRetry(row, nil, time.Now()) }

// errorLog writes one line per failed attempt. Arguments are ids by rule, so they may be logged.
type errorLog struct{ log *slog.Logger }

// HandleError implements river.ErrorHandler.
func (h errorLog) HandleError(ctx context.Context, row *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	level, msg := slog.LevelWarn, "job attempt failed"
	if row.Attempt >= row.MaxAttempts {
		level, msg = slog.LevelError, "job is dead"
	}
	h.log.LogAttrs(ctx, level, msg, append(jobAttrs(row), slog.String("error", err.Error()))...)
	return nil
}

// HandlePanic implements river.ErrorHandler.
func (h errorLog) HandlePanic(ctx context.Context, row *rivertype.JobRow, value any, trace string) *river.ErrorHandlerResult {
	h.log.LogAttrs(ctx, slog.LevelError, "job panicked", append(jobAttrs(row), slog.Any("panic", value), slog.String("trace", trace))...)
	return nil
}

func jobAttrs(row *rivertype.JobRow) []slog.Attr {
	args := row.EncodedArgs
	if len(args) > 300 {
		args = args[:300]
	}
	return []slog.Attr{slog.Int64("job", row.ID), slog.String("kind", row.Kind), slog.String("queue", row.Queue),
		slog.Int("attempt", row.Attempt), slog.Int("attempts", row.MaxAttempts), slog.String("args", string(args))}
}

// quiet passes only warnings and worse of River's own messages on.
type quiet struct{ slog.Handler }

// Enabled implements slog.Handler.
func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && q.Handler.Enabled(ctx, l)
}

// WithAttrs implements slog.Handler.
func (q quiet) WithAttrs(as []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(as)} }

// WithGroup implements slog.Handler.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }
