// Package archive is the form of a backup file: a zstd-compressed tar whose first entry says what it is and whose last
// holds the SHA-256 of every other, so that a person can open it with zstd and tar, and a cut or damaged file is seen.
// It knows files, not databases.
package archive
