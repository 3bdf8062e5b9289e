package app

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"leadloom/internal/app/archive"
	"leadloom/internal/config"
	"leadloom/internal/failpoint"
	"leadloom/internal/fault"
	"leadloom/internal/queue"
	"leadloom/internal/secret"
	"leadloom/internal/store"
)

// restore reads a backup into an empty data folder or database: first the whole file is verified, then version and
// room, then it is brought in, and every invariant is checked.
func restore(ctx context.Context, c config.Restore, s Streams) error {
	m, err := verifyFile(c.File)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	engine := "sqlite"
	if c.DatabaseURL != "" {
		engine = "postgres"
	}
	if m.Engine != engine {
		return fault.Conflict("other_engine", fmt.Sprintf("The backup is of a %s database and the target is %s; restore it into the same kind.", m.Engine, engine))
	}
	if err := knownSchema(m); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Data.Data, 0o700); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	if err := room(c.Data.Data, m.Bytes); err != nil {
		return err
	}
	var key []byte
	if m.SecretKey {
		if key, err = wrappedKey(c); err != nil {
			return err
		}
		if err := sameKey(c, key); err != nil {
			return err
		}
	}
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	in, err := archive.NewReader(f)
	if err != nil {
		return err
	}
	defer in.Close()
	if c.SecretKey != "" { // it comes from outside the data folder
		key = nil
	}
	if engine == "postgres" {
		err = restoreTables(ctx, c, in, key)
	} else {
		err = restoreFile(ctx, c, in, key)
	}
	if err != nil {
		return err
	}
	failpoint.Hit(failpoint.RestoreInPlace)
	fmt.Fprintf(s.Out, "Restored the backup of %s (version %s). Checking it:\n", m.CreatedAt.Format("2006-01-02 15:04 UTC"), m.Version)
	if !m.SecretKey && c.SecretKey == "" {
		fmt.Fprintln(s.Err, "leadloom: WARNING: the backup holds no secret key. Put the old secret.key into the data folder before the first start, or enter the connections' passwords and keys again.")
	}
	return withStore(ctx, c.Data, false, func(st *store.Store) error {
		if err := migrated(ctx, st); err != nil {
			return err
		}
		if err := runChecks(ctx, st, c.Data, false, s); err != nil {
			return err
		}
		fmt.Fprintln(s.Out, "Mails, CRM connections and calls of workflows are held, so that nothing goes out twice while the old server still runs.")
		_, err := fmt.Fprintf(s.Out, "When it is off: start this one and resume the queues %s at /admin/jobs/queues.\n", strings.Join(queue.Outgoing(), ", "))
		return err
	})
}

// knownSchema refuses a backup of a newer version before anything is written.
func knownSchema(m archive.Manifest) error {
	if newest := store.NewestSchema(); m.Schema > newest {
		return fault.Conflict("schema_too_new", fmt.Sprintf("The backup has schema step %d and this version knows %d. Restore it with version %s or a newer one.", m.Schema, newest, m.Version))
	}
	return nil
}

// sameKey refuses a data folder that holds another secret key, before anything is written.
func sameKey(c config.Restore, key []byte) error {
	path := filepath.Join(c.Data.Data, secret.KeyFile)
	if _, err := os.Lstat(path); err != nil || c.SecretKey != "" {
		return nil
	}
	have, err := secret.ReadMaster(c.Data.Data, "")
	if err != nil {
		return err
	}
	if !bytes.Equal(have, key) {
		return fault.Conflict("target_not_empty", path+" exists and is another key. Restore into an empty folder.")
	}
	return nil
}

func room(dir string, bytes int64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < bytes {
		return fault.Conflict("no_room", fmt.Sprintf("The database needs %d bytes and %s has %d free.", bytes, dir, free))
	}
	return nil
}

// saveKey puts the backup's secret key into the data folder, when there is one to put there. It comes before the
// database: a database without its key would be given a new one at the next start, which opens nothing.
func saveKey(c config.Restore, key []byte) error {
	if key == nil {
		return nil
	}
	return secret.SaveMaster(c.Data.Data, key)
}

// restoreFile writes the database under another name and gives it its own when it is whole and what would send is
// held: whenever the process ends, there is either no database or the restored one with everything held.
func restoreFile(ctx context.Context, c config.Restore, in *archive.Reader, key []byte) error {
	target := filepath.Join(c.Data.Data, databaseFile)
	for _, suffix := range []string{"", "-wal", "-shm"} { // a log that is left of another database would be taken for this one's
		if _, err := os.Lstat(target + suffix); err == nil {
			return fault.Conflict("target_not_empty", target+suffix+" exists. Restore into an empty folder.")
		}
	}
	partial := target + ".restoring"
	rest := func() {
		for _, suffix := range []string{"-wal", "-shm", ".lock"} {
			_ = os.Remove(partial + suffix)
		}
	}
	rest() // of a restore that was cut off
	defer os.Remove(partial)
	defer rest()
	for {
		name, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if name == partDatabase {
			if err := copyTo(partial, in); err != nil {
				return err
			}
		}
	}
	if err := store.CheckSQLiteFile(ctx, partial); err != nil {
		return err
	}
	if err := holdFile(ctx, partial); err != nil {
		return err
	}
	if err := saveKey(c, key); err != nil {
		return err
	}
	failpoint.Hit(failpoint.RestoreWhole)
	rest()
	if err := os.Rename(partial, target); err != nil {
		return err
	}
	return syncFolder(c.Data.Data)
}

// holdFile brings a database file up to this version and holds what would send; all of it is in the file itself after.
func holdFile(ctx context.Context, path string) (err error) {
	st, err := store.Open(ctx, store.Options{Path: path})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := migrated(ctx, st); err != nil {
		return err
	}
	return queue.Hold(ctx, queueTables(st), queue.Outgoing()...)
}

func copyTo(path string, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = io.CopyN(f, r, 1<<20)
		failpoint.Hit(failpoint.RestorePart)
	}
	if errors.Is(err, io.EOF) {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// wrappedKey opens the secret key of a backup that holds one, before anything is written.
func wrappedKey(c config.Restore) ([]byte, error) {
	if c.Passphrase == "" {
		return nil, fault.Conflict("passphrase_missing", "The backup holds the secret key under a passphrase: give it as LEADLOOM_PASSPHRASE_FILE or --passphrase.")
	}
	f, err := os.Open(c.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in, err := archive.NewReader(f)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	for {
		name, err := in.Next()
		if err != nil {
			return nil, fmt.Errorf("the secret key in the backup: %w", err)
		}
		if name == partKey {
			return archive.UnwrapKey(in, c.Passphrase.Reveal())
		}
	}
}

// restoreTables fills an empty database in one transaction, which also holds what would send. A mark lies in the
// database until then: a server refuses it, and the same restore may be repeated.
func restoreTables(ctx context.Context, c config.Restore, in *archive.Reader, key []byte) error {
	st, err := openStore(ctx, c.Data, false, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer st.Close()
	if empty, err := st.BeginRestore(ctx, authority); err != nil {
		return err
	} else if !empty {
		return fault.Conflict("target_not_empty", "The database has tables. Restore into an empty one.")
	}
	if err := migrated(ctx, st); err != nil {
		return err
	}
	applied, _, err := st.SchemaVersion(ctx, authority)
	if err != nil {
		return err
	}
	if applied != in.Manifest.Schema {
		return fault.Conflict("schema_differs", fmt.Sprintf("The backup has schema step %d and this version %d. Restore it with version %s, then upgrade.", in.Manifest.Schema, applied, in.Manifest.Version))
	}
	if err := saveKey(c, key); err != nil {
		return err
	}
	return st.LoadPostgres(ctx, authority, func(raw any) error {
		err := queue.HoldTx(ctx, raw, queue.Outgoing()...)
		failpoint.Hit(failpoint.RestoreWhole)
		return err
	}, func() (store.Table, io.Reader, error) {
		for {
			name, err := in.Next()
			if err != nil {
				return store.Table{}, nil, err
			}
			table, ok := strings.CutPrefix(name, partTables+"/")
			if !ok {
				continue
			}
			rows := bufio.NewReaderSize(in, 1<<20)
			head, err := rows.ReadBytes('\n')
			if err != nil {
				return store.Table{}, nil, fmt.Errorf("the columns of %s: %w", table, err)
			}
			t := store.Table{Name: table}
			if err := json.Unmarshal(head, &t.Columns); err != nil {
				return store.Table{}, nil, fmt.Errorf("the columns of %s: %w", table, err)
			}
			return t, rows, nil
		}
	})
}
