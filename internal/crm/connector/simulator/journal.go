package simulator

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

// journal is a file of one JSON record a line; the last line of a key is how it stands.
type journal struct {
	f *os.File
	w *bufio.Writer
}

func openJournal(path string, replay func([]byte)) (*journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the CRM simulator's journal: %w", err)
	}
	sc := bufio.NewScanner(f)
	sc.Buffer(make([]byte, 64<<10), 16<<20)
	for sc.Scan() {
		replay(sc.Bytes()) // a line cut by a crash is not JSON and is left out
	}
	if err := sc.Err(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("read the CRM simulator's journal: %w", err)
	}
	// A cut last line must not swallow the next one.
	if info, err := f.Stat(); err == nil && info.Size() > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, info.Size()-1); err == nil && last[0] != '\n' {
			_, _ = f.WriteString("\n")
		}
	}
	return &journal{f: f, w: bufio.NewWriterSize(f, 256<<10)}, nil
}

func (j *journal) append(r *Record) {
	b, err := json.Marshal(r)
	if err == nil {
		_, _ = j.w.Write(append(b, '\n'))
	}
}

// flush hands what was written to the operating system; called before each reply.
func (j *journal) flush() { _ = j.w.Flush() }

func (j *journal) close() error {
	j.flush()
	return j.f.Close()
}
