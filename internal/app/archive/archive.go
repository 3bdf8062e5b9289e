package archive

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

const (
	manifestName = "manifest.json"
	sumsName     = "SHA256SUMS"
	chunkSize    = 4 << 20
)

// Manifest says what a backup holds.
type Manifest struct {
	Format    int       `json:"format"` // 1
	Version   string    `json:"leadloom_version"`
	Engine    string    `json:"engine"` // sqlite or postgres
	Schema    int64     `json:"schema"` // newest applied migration
	CreatedAt time.Time `json:"created_at"`
	Bytes     int64     `json:"bytes"`      // room that the database needs, uncompressed; 0 when not known
	SecretKey bool      `json:"secret_key"` // whether the wrapped key is inside
}

// Writer writes a backup. Call Stream for each part, then Close.
type Writer struct {
	zst  *zstd.Encoder
	tar  *tar.Writer
	sums strings.Builder
	at   time.Time
}

// NewWriter starts a backup with its manifest.
func NewWriter(w io.Writer, m Manifest) (*Writer, error) {
	z, err := zstd.NewWriter(w, zstd.WithEncoderCRC(true))
	if err != nil {
		return nil, err
	}
	m.Format = 1
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	out := &Writer{zst: z, tar: tar.NewWriter(z), at: m.CreatedAt}
	return out, out.entry(manifestName, b)
}

// Stream writes a part of unknown length as numbered entries under its name and returns its length.
func (w *Writer) Stream(name string, r io.Reader) (int64, error) {
	buf := make([]byte, chunkSize)
	var total int64
	for i := 0; ; i++ {
		n, err := io.ReadFull(r, buf)
		if n > 0 || i == 0 {
			if werr := w.entry(fmt.Sprintf("%s/%06d", name, i), buf[:n]); werr != nil {
				return total, werr
			}
			total += int64(n)
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return total, nil
		default:
			return total, fmt.Errorf("read %s: %w", name, err)
		}
	}
}

func (w *Writer) entry(name string, body []byte) error {
	h := &tar.Header{Name: name, Mode: 0o600, Size: int64(len(body)), ModTime: w.at, Format: tar.FormatPAX}
	if err := w.tar.WriteHeader(h); err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	fmt.Fprintf(&w.sums, "%s  %s\n", hex.EncodeToString(sum[:]), name)
	_, err := w.tar.Write(body)
	return err
}

// Close writes the checksums and ends the file. Without it the backup is refused when it is read.
func (w *Writer) Close() error {
	return errors.Join(w.entry(sumsName, []byte(w.sums.String())), w.tar.Close(), w.zst.Close())
}

// Reader reads a backup from the front. What it hands out is verified only when Next has returned io.EOF.
type Reader struct {
	Manifest Manifest
	zst      *zstd.Decoder
	tar      *tar.Reader
	sums     strings.Builder
	digest   hash.Hash
	entry    string // the entry being read
	ahead    *tar.Header
	ended    bool
}

// ErrDamaged says that a backup is not what was written.
var ErrDamaged = errors.New("the backup is damaged or cut off")

// NewReader reads the manifest.
func NewReader(r io.Reader) (*Reader, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<30))
	if err != nil {
		return nil, err
	}
	out := &Reader{zst: z, tar: tar.NewReader(z)}
	h, err := out.advance()
	if err != nil || h.Name != manifestName {
		z.Close()
		return nil, fmt.Errorf("this is no Leadloom backup: %w", errors.Join(err, ErrDamaged))
	}
	b, err := io.ReadAll(io.LimitReader(out, 1<<20))
	if err == nil {
		err = json.Unmarshal(b, &out.Manifest)
	}
	if err != nil {
		z.Close()
		return nil, fmt.Errorf("the backup's manifest: %w", err)
	}
	if out.Manifest.Format != 1 {
		z.Close()
		return nil, fmt.Errorf("the backup has format %d; this version reads format 1: use the version that wrote it (%s)", out.Manifest.Format, out.Manifest.Version)
	}
	return out, nil
}

// Close frees the decoder.
func (r *Reader) Close() { r.zst.Close() }

// Next goes to the next part and returns its name; Read then gives its bytes. io.EOF means that everything was read
// and every checksum is right.
func (r *Reader) Next() (string, error) {
	if _, err := io.Copy(io.Discard, r.part()); err != nil {
		return "", err
	}
	h := r.ahead
	r.ahead = nil
	if h == nil {
		var err error
		if h, err = r.advance(); err != nil {
			return "", err
		}
	}
	if r.ended {
		return "", io.EOF
	}
	return partOf(h.Name), nil
}

func partOf(entry string) string {
	if i := strings.LastIndexByte(entry, '/'); i >= 0 {
		return entry[:i]
	}
	return entry
}

// Read gives the bytes of the current part, across its entries.
func (r *Reader) Read(p []byte) (int, error) { return r.part().Read(p) }

func (r *Reader) part() io.Reader { return readFunc(r.read) }

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func (r *Reader) read(p []byte) (int, error) {
	for {
		if r.ahead != nil || r.ended || r.entry == "" {
			return 0, io.EOF
		}
		n, err := r.tar.Read(p)
		r.digest.Write(p[:n])
		if n > 0 {
			return n, nil
		}
		if !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		was := r.entry
		h, err := r.advance()
		if err != nil {
			return 0, err
		}
		if r.ended || was == manifestName || partOf(h.Name) != partOf(was) {
			r.ahead = h
			return 0, io.EOF
		}
	}
}

// advance closes the digest of the entry that was read and goes to the next one. At the checksums it compares them.
func (r *Reader) advance() (*tar.Header, error) {
	if r.entry != "" {
		fmt.Fprintf(&r.sums, "%s  %s\n", hex.EncodeToString(r.digest.Sum(nil)), r.entry)
	}
	h, err := r.tar.Next()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if h.Name == sumsName {
		b, err := io.ReadAll(io.LimitReader(r.tar, 1<<30))
		if err != nil || string(b) != r.sums.String() {
			return nil, errors.Join(ErrDamaged, err)
		}
		if _, err := io.Copy(io.Discard, r.zst); err != nil { // the stream's own checksum
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		r.ended, r.entry = true, ""
		return h, nil
	}
	r.entry, r.digest = h.Name, sha256.New()
	return h, nil
}

// Verify reads a whole backup and returns its manifest when every checksum is right.
func Verify(r io.Reader) (Manifest, error) {
	in, err := NewReader(r)
	if err != nil {
		return Manifest{}, err
	}
	defer in.Close()
	for {
		if _, err := in.Next(); errors.Is(err, io.EOF) {
			return in.Manifest, nil
		} else if err != nil {
			return Manifest{}, err
		}
	}
}
