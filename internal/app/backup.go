package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"leadloom/internal/app/archive"
	"leadloom/internal/config"
	"leadloom/internal/failpoint"
	"leadloom/internal/fault"
	"leadloom/internal/secret"
	"leadloom/internal/store"
)

// Names of the parts of a backup file.
const (
	partKey      = "secret.key.age"
	partDatabase = "database"
	partTables   = "tables"
)

// backup writes one consistent file beside a running server, reads it back and only then gives it its name.
func backup(ctx context.Context, c config.Backup, s Streams) error {
	if _, err := os.Lstat(c.File); err == nil {
		return fault.Conflict("file_exists", c.File+" exists. A backup never overwrites anything; choose another name.")
	}
	started := time.Now()
	partial := c.File + ".partial"
	f, err := os.OpenFile(partial, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(partial)
	err = writeBackup(ctx, c, f)
	failpoint.Hit(failpoint.BackupWritten)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	m, err := verifyFile(partial)
	if err != nil {
		return fmt.Errorf("read the backup back: %w", err)
	}
	failpoint.Hit(failpoint.BackupVerified)
	if err := os.Rename(partial, c.File); err != nil {
		return err
	}
	failpoint.Hit(failpoint.BackupNamed)
	if err := syncFolder(filepath.Dir(c.File)); err != nil {
		return err
	}
	size := int64(0)
	if info, err := os.Stat(c.File); err == nil {
		size = info.Size()
	}
	fmt.Fprintf(s.Out, "%s: %s database at schema step %d, %d bytes, verified by reading it back, in %.1f s\n", c.File, m.Engine, m.Schema, size, time.Since(started).Seconds())
	if !m.SecretKey {
		fmt.Fprintln(s.Err, "leadloom: WARNING: the secret key is NOT in this backup. Without it the passwords and keys of connections cannot be read after a restore.")
		fmt.Fprintln(s.Err, "leadloom: keep a copy of the key elsewhere, or give a passphrase (LEADLOOM_PASSPHRASE_FILE) that wraps it into the backup.")
	}
	return nil
}

func writeBackup(ctx context.Context, c config.Backup, to io.Writer) error {
	st, err := openStore(ctx, c.Data, true, nil)
	if err != nil {
		return err
	}
	defer st.Close()
	applied, _, err := st.SchemaVersion(ctx, authority)
	if err != nil {
		return err
	}
	m := archive.Manifest{Version: Version(), Engine: st.Engine(), Schema: applied, CreatedAt: time.Now().UTC().Truncate(time.Second), SecretKey: c.Passphrase != ""}
	if st.Engine() == "postgres" {
		return dumpTables(ctx, st, c, m, to)
	}
	return store.DumpSQLite(ctx, authority, filepath.Join(c.Data.Data, databaseFile), func(size int64, file io.Reader) error {
		m.Bytes = size
		w, err := begin(to, m, c)
		if err != nil {
			return err
		}
		if _, err := w.Stream(partDatabase, file); err != nil {
			return err
		}
		return w.Close()
	})
}

// begin starts the file with its manifest and, under a passphrase, the secret key.
func begin(to io.Writer, m archive.Manifest, c config.Backup) (*archive.Writer, error) {
	w, err := archive.NewWriter(to, m)
	if err != nil || c.Passphrase == "" {
		return w, err
	}
	key, err := secret.ReadMaster(c.Data.Data, c.SecretKey) // never a new one, which would open nothing
	if err != nil {
		return nil, fmt.Errorf("the secret key for the backup: %w", err)
	}
	sealed, err := archive.WrapKey(key, c.Passphrase.Reveal())
	if err != nil {
		return nil, err
	}
	_, err = w.Stream(partKey, bytes.NewReader(sealed))
	return w, err
}

// dumpTables writes each table as a part: a line with its columns as JSON, then its rows in COPY's text format.
func dumpTables(ctx context.Context, st *store.Store, c config.Backup, m archive.Manifest, to io.Writer) error {
	w, err := begin(to, m, c)
	if err != nil {
		return err
	}
	err = st.DumpPostgres(ctx, authority, func(t store.Table, rows io.Reader) error {
		head, err := json.Marshal(t.Columns)
		if err != nil {
			return err
		}
		_, err = w.Stream(partTables+"/"+t.Name, io.MultiReader(bytes.NewReader(append(head, '\n')), rows))
		return err
	})
	if err != nil {
		return err
	}
	return w.Close()
}

func verifyFile(path string) (archive.Manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return archive.Manifest{}, err
	}
	defer f.Close()
	return archive.Verify(f)
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
