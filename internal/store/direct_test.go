package store

import (
	"context"
	"path/filepath"
	"reflect"
	"testing"

	"leadloom/internal/account"
	"leadloom/internal/lead"
)

// TestDirect_ScansAsDatabaseSQLDoes reads the same columns inside a transaction, where the store speaks to the driver
// itself, and on the read pool, where database/sql converts.
func TestDirect_ScansAsDatabaseSQLDoes(t *testing.T) {
	ctx := context.Background()
	st, err := Open(ctx, Options{Path: filepath.Join(t.TempDir(), "direct.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := st.MigrateUp(ctx, account.NewInstance("test")); err != nil {
		t.Fatal(err)
	}
	type all struct {
		Text     string
		Named    lead.ID
		Optional *string
		None     *string
		Number   int64
		Small    int
		Maybe    *int64
		Bytes    []byte
		Nothing  []byte
	}
	scan := func(r row) (a all, err error) {
		err = r.Scan(&a.Text, &a.Named, &a.Optional, &a.None, &a.Number, &a.Small, &a.Maybe, &a.Bytes, &a.Nothing)
		return a, err
	}
	const query = `SELECT 'é'||$1, CAST('lead-1' AS TEXT), 'there', NULL, 9007199254740993, 7, $2+0, x'00ff', NULL`
	want, err := queryOne(st.Read(ctx), scan, query, "x", 5)
	if err != nil {
		t.Fatal(err)
	}
	refused := map[string]any{"NULL for a text": new(string), "a text for a number": new(int64), "a number for a text": new(lead.ID)}
	source := map[string]string{"NULL for a text": "NULL", "a text for a number": "'ten'", "a number for a text": "65"}
	err = st.Write(ctx, func(tx *Tx) error {
		got, err := queryOne(tx.Reader, scan, query, "x", 5)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("in a transaction %+v (%v), on the read pool %+v", got, err, want)
		}
		for name, dest := range refused {
			if _, err := queryOne(tx.Reader, func(r row) (struct{}, error) { return struct{}{}, r.Scan(dest) }, "SELECT "+source[name]); err == nil {
				t.Errorf("%s was taken", name)
			}
		}
		if _, err := queryOne(tx.Reader, scanString, "SELECT 'a', 'b'"); err == nil {
			t.Error("two columns went into one destination")
		}
		if _, err := tx.exec("SELECT $1", struct{}{}); err == nil {
			t.Error("an argument that no column can hold was taken")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
