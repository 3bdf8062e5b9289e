// Package sqlitemem sets how the SQLite of this process uses memory. It is imported for that alone, and works because a
// package is initialised before anything that imports it can open a database.
//
// The driver's allocator has one lock for the process, and its SQLite is compiled with
// SQLITE_ENABLE_MEMORY_MANAGEMENT, which gives all connections one page cache with one lock, taken for each page. Readers
// queue for both, and Go's mutex makes it worse: once somebody has waited a millisecond it is handed from one to the next,
// each of which gives its processor away. On two cores with twenty clients that was a third of the time of a search.
package sqlitemem

import (
	"fmt"
	_ "unsafe" // go:linkname

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// Each connection gets memory of its own for small allocations, as sqlite.org/malloc.html#lookaside describes: the texts
// of a lead in one column, and each text that LIKE looks at, are allocated and freed there. SQLite's own 40 slots are
// taken up by the statements that are kept.
const (
	slotBytes = 1200
	slots     = 400
)

// pageCaches is pcache1_g of the driver's SQLite, which offers no other way: separateCache gives each connection a page
// cache of its own without a lock, as SQLite has it unless it was compiled to reclaim memory from other connections,
// which nobody asks for here.
//
//go:linkname pageCaches modernc.org/sqlite/lib._pcache1_g
var pageCaches sqlite3.TPCacheGlobal

func init() {
	tls := libc.NewTLS()
	defer tls.Close()
	args := libc.Xmalloc(tls, 16)
	defer libc.Xfree(tls, args)
	if rc := sqlite3.Xsqlite3_config(tls, sqlite3.SQLITE_CONFIG_LOOKASIDE, libc.VaList(args, int32(slotBytes), int32(slots))); rc != sqlite3.SQLITE_OK {
		panic(fmt.Sprintf("sqlitemem: SQLite refuses its memory settings (%d): a database was opened before", rc))
	}
	if rc := sqlite3.Xsqlite3_initialize(tls); rc != sqlite3.SQLITE_OK {
		panic(fmt.Sprintf("sqlitemem: SQLite does not start (%d)", rc))
	}
	if Separate() {
		pageCaches.FseparateCache = 1
	}
}

// Separate reports whether connections have page caches of their own. It is false where the driver's SQLite keeps its
// state elsewhere, on another platform or in another version: then all is right and slower.
func Separate() bool { return pageCaches.FisInit != 0 }
