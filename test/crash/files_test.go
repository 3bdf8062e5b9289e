package crash

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite"

	"leadloom/internal/failpoint"
	"leadloom/test/live"
)

// fileRound kills a command in the middle: a migration, a backup beside nobody, a restore. Whatever it left behind,
// the same command works when it is repeated, and what looks whole is whole.
func (s *supervisor) fileRound(h *house, point failpoint.Name) {
	switch noun, _, _ := strings.Cut(string(point), "."); noun {
	case "migrate":
		s.killMigration(point)
	case "backup":
		s.killBackup(h, point)
	default:
		s.killRestore(h, point)
	}
}

// killed runs a command that must end at the point.
func (s *supervisor) killed(point failpoint.Name, most int, args ...string) {
	s.t.Helper()
	arm := fmt.Sprintf("%s=%s=%d", failpoint.Variable, point, 1+s.random.IntN(most))
	out, err := live.RunHow(s.t, live.How{Failpoints: true, Env: []string{arm}}, "", args...)
	if err == nil || !strings.Contains(out, failpoint.Killed+string(point)+"\n") {
		s.t.Errorf("%s was not reached by %s (%s): %v\n%s", point, strings.Join(args, " "), arm, err, out)
	}
	s.table[string(point)]++
}

func (s *supervisor) must(args ...string) string {
	s.t.Helper()
	out, err := live.RunHow(s.t, live.How{Failpoints: true}, "", args...)
	if err != nil {
		s.t.Errorf("leadloom %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (s *supervisor) killMigration(point failpoint.Name) {
	data := s.database()
	most := map[failpoint.Name]int{failpoint.MigrationPart: 40, failpoint.MigrationStep: 4, failpoint.MigrationQueue: 1}[point]
	s.killed(point, most, append([]string{"migrate", "up"}, data...)...)
	s.must(append([]string{"migrate", "up"}, data...)...)
	s.must(append([]string{"check"}, data...)...)
}

func (s *supervisor) killBackup(h *house, point failpoint.Name) {
	file := filepath.Join(s.t.TempDir(), "crash.backup")
	most := 1
	if point == failpoint.BackupPart {
		most = 20
	}
	s.killed(point, most, append([]string{"backup", file}, h.data...)...)
	if _, err := os.Lstat(file); err != nil {
		if point == failpoint.BackupNamed {
			s.t.Errorf("the backup had its name when the process ended, and is not there: %v", err)
		}
		s.must(append([]string{"backup", file}, h.data...)...) // what the first one left is in nobody's way
	} else if point != failpoint.BackupNamed {
		s.t.Errorf("a backup that was cut off at %s has its name", point)
	}
	to := s.database()
	s.must(append([]string{"restore", file}, to...)...)
	s.must(append([]string{"check"}, to...)...)
}

func (s *supervisor) killRestore(h *house, point failpoint.Name) {
	file := filepath.Join(s.t.TempDir(), "crash.backup")
	s.must(append([]string{"backup", file}, h.data...)...)
	to := s.database()
	s.killed(point, 1, append([]string{"restore", file}, to...)...)
	if point != failpoint.RestoreInPlace {
		if s.engine == "postgres" { // it looks like a new database and must not be served as one
			if out, err := live.RunHow(s.t, live.How{Failpoints: true}, "", append([]string{"serve", "--addr", "127.0.0.1:0"}, to...)...); err == nil || !strings.Contains(out, "restore") {
				s.t.Errorf("a server starts on a restore that was cut off at %s: %v\n%s", point, err, out)
			}
		}
		s.must(append([]string{"restore", file}, to...)...)
	}
	s.must(append([]string{"check"}, to...)...)
	if n := s.held(to); n != 3 {
		s.t.Errorf("after a restore that was cut off at %s %d of 3 queues are held: it would send beside the old server", point, n)
	}
}

// held counts the queues that a database holds.
func (s *supervisor) held(data []string) (n int) {
	const text = "SELECT count(*) FROM river_queue WHERE paused_at IS NOT NULL AND name IN ('crm','http','mail')"
	var err error
	if s.engine == "postgres" {
		var conn *pgx.Conn
		if conn, err = pgx.Connect(s.t.Context(), data[3]); err == nil {
			defer conn.Close(s.t.Context())
			err = conn.QueryRow(s.t.Context(), text).Scan(&n)
		}
	} else {
		var db *sql.DB
		if db, err = sql.Open("sqlite", filepath.Join(data[1], "leadloom.db")); err == nil {
			defer db.Close()
			err = db.QueryRow(text).Scan(&n)
		}
	}
	if err != nil {
		s.t.Errorf("count held queues: %v", err)
	}
	return n
}
