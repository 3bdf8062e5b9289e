package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
)

// connQuerier speaks to the writer's connection without database/sql between: its locks, its copies of arguments and
// the goroutine that it starts for each query cost a tenth of a change. Only the writer's goroutine uses it, while the
// transaction that it belongs to is open.
type connQuerier struct {
	ctx  context.Context // without cancellation: an interrupted statement would end every caller's transaction
	conn *cachingConn
}

func (q connQuerier) exec(text string, args []any) (int64, error) {
	named, err := namedValues(args)
	if err != nil {
		return 0, err
	}
	res, err := q.conn.ExecContext(q.ctx, text, named)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (q connQuerier) query(text string, args []any) (rows, error) {
	named, err := namedValues(args)
	if err != nil {
		return nil, err
	}
	rs, err := q.conn.QueryContext(q.ctx, text, named)
	if err != nil {
		return nil, err
	}
	return &connRows{rows: rs, values: make([]driver.Value, len(rs.Columns()))}, nil
}

// namedValues converts arguments as database/sql does.
func namedValues(args []any) ([]driver.NamedValue, error) {
	out := make([]driver.NamedValue, len(args))
	for i, a := range args {
		switch v := a.(type) {
		case nil, string, int64, []byte:
		case int:
			a = int64(v)
		default:
			c, err := driver.DefaultParameterConverter.ConvertValue(a)
			if err != nil {
				return nil, fmt.Errorf("store: argument %d: %w", i+1, err)
			}
			a = c
		}
		out[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return out, nil
}

// connRows is the rows of one query; it is closed before the next statement of its text.
type connRows struct {
	rows   driver.Rows
	values []driver.Value
	err    error
}

func (r *connRows) Next() bool {
	if r.err != nil {
		return false
	}
	r.err = r.rows.Next(r.values)
	return r.err == nil
}

func (r *connRows) Err() error {
	if errors.Is(r.err, io.EOF) {
		return nil
	}
	return r.err
}

func (r *connRows) Close() { _ = r.rows.Close() }

func (r *connRows) Scan(dest ...any) error {
	if len(dest) != len(r.values) {
		return fmt.Errorf("store: %d columns for %d destinations", len(r.values), len(dest))
	}
	for i, d := range dest {
		if err := assign(d, r.values[i]); err != nil {
			return fmt.Errorf("store: column %d: %w", i+1, err)
		}
	}
	return nil
}

// assign stores a column in what dest points to: the types that the store scans into go straight, named ones
// (lead.ID …) and optional ones by their kind.
func assign(dest any, v driver.Value) error {
	switch d := dest.(type) {
	case *string:
		if s, ok := v.(string); ok {
			*d = s
			return nil
		}
	case *int64:
		if n, ok := v.(int64); ok {
			*d = n
			return nil
		}
	}
	return assignKind(reflect.ValueOf(dest).Elem(), v)
}

func assignKind(target reflect.Value, v driver.Value) error {
	if v == nil {
		if k := target.Kind(); k != reflect.Pointer && k != reflect.Slice {
			return fmt.Errorf("NULL for %s", target.Type())
		}
		target.SetZero()
		return nil
	}
	switch target.Kind() {
	case reflect.Pointer:
		target.Set(reflect.New(target.Type().Elem()))
		return assignKind(target.Elem(), v)
	case reflect.Slice: // bytes; a JSON column is text
		if s, ok := v.(string); ok {
			v = []byte(s)
		}
	}
	value := reflect.ValueOf(v)
	// Go would convert a number to a text of one rune, and a float to a whole number: only like goes into like.
	like := value.Kind() == target.Kind() || value.CanInt() && target.CanInt() || value.CanFloat() && target.CanFloat()
	if !like || !value.CanConvert(target.Type()) || target.CanInt() && target.OverflowInt(value.Int()) {
		return fmt.Errorf("%T for %s", v, target.Type())
	}
	target.Set(value.Convert(target.Type()))
	return nil
}
