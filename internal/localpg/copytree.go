package localpg

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

type copyOptions struct {
	own  func(path string) error       // gives a copy to its owner
	skip func(name string) bool        // nil copies every file
	mode func(fs.FileMode) fs.FileMode // nil keeps the permissions
}

// copyTree copies a directory with its files and symbolic links. Where the file
// system can share blocks, the kernel does so (copy_file_range).
func copyTree(from, to string, o copyOptions) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		mode := info.Mode().Perm()
		if o.mode != nil {
			mode = o.mode(info.Mode())
		}
		switch {
		case d.IsDir():
			if err := os.MkdirAll(target, mode|0o700); err != nil {
				return err
			}
			if err := os.Chmod(target, mode|0o700); err != nil {
				return err
			}
		case d.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			if err := os.Symlink(link, target); err != nil {
				return err
			}
		case !d.Type().IsRegular() || (o.skip != nil && o.skip(d.Name())):
			return nil
		default:
			if err := copyFile(path, target, mode); err != nil {
				return err
			}
		}
		return o.own(target)
	})
}

func copyFile(from, to string, mode fs.FileMode) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := dst.Close(); err == nil {
			err = cerr
		}
	}()
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	return dst.Chmod(mode) // the umask took some away
}
