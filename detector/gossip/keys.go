package gossip

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"healer/internal/secretfile"
)

// newKeySize is that of AES-256.
const newKeySize = 32

// NewKey returns a fresh random key as a line of a key file.
func NewKey() string {
	key := make([]byte, newKeySize)
	_, _ = rand.Read(key) // it never fails: it ends the program instead
	return base64.StdEncoding.EncodeToString(key)
}

// ReadKeys reads a key file: one key a line, 16, 24 or 32 bytes in base64, with
// empty lines and lines that begin with # left out. The first key is the one to
// send with. An error never shows what may be a key.
func ReadKeys(path string) ([][]byte, error) {
	text, err := secretfile.Read(path)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

func parseKeys(text []byte) ([][]byte, error) {
	var keys [][]byte
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		switch {
		case err != nil:
			return nil, fmt.Errorf("line %d is not base64: write the keys as `healer gossip keygen` does, one a line", n)
		case !slices.Contains([]int{16, 24, 32}, len(key)):
			return nil, fmt.Errorf("line %d is a key of %d bytes: it must have 16, 24 or 32", n, len(key))
		case slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) }):
			return nil, fmt.Errorf("line %d is a key that stands above it already: remove one of the two", n)
		}
		keys = append(keys, key)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no key in it: `healer gossip keygen` prints one")
	}
	return keys, nil
}
