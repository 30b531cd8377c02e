// Package secretfile reads files of secrets, and refuses those that others could
// read or change. It imports only the standard library.
package secretfile

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// maxBytes bounds a file of secrets.
const maxBytes = 64 << 10

// Read returns what is in a file that nobody but its owner reaches; a file of root
// may be read by its group, as PostgreSQL has it for the key of its server. An
// error says what to do, and never shows what is in the file.
func Read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := private(path, info); err != nil {
		return nil, err
	}
	if info.Size() > maxBytes {
		return nil, fmt.Errorf("%s has %d bytes: that is no file of secrets", path, info.Size())
	}
	return io.ReadAll(io.LimitReader(f, maxBytes))
}

// ReadWord returns the one word that is in such a file.
func ReadWord(path string) (string, error) {
	text, err := Read(path)
	if err != nil {
		return "", err
	}
	word := strings.TrimSpace(string(text))
	if word == "" || strings.ContainsAny(word, "\r\n") {
		return "", fmt.Errorf("%s has not just one line with a secret", path)
	}
	return word, nil
}

func private(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", path)
	}
	open := info.Mode().Perm() & 0o077
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid == 0 {
		open &^= 0o040
	}
	if open != 0 {
		return fmt.Errorf("%s has the mode %04o, so others than its owner can reach it: chmod 0600 %[1]s", path, info.Mode().Perm())
	}
	return nil
}
