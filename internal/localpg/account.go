package localpg

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"healer/topology"
)

// account is the user that servers run as.
type account struct {
	uid, gid int
	// drop is set when it is another user than ours: PostgreSQL refuses to run
	// as root, so root has to become somebody else.
	drop bool
}

// serverAccount chooses who runs the servers: us, or for root the user
// "postgres" and, where that is missing, "nobody".
func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if uidErr == nil && gidErr == nil && uid != 0 {
			return account{uid: uid, gid: gid, drop: true}, nil
		}
	}
	return account{}, &topology.Fault{
		Class: topology.Permanent, Code: "no_server_user",
		Hint: "run as another user than root, or create a user postgres",
		Err:  fmt.Errorf("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody"),
	}
}

// credential is what a child process needs to run as the account; nil keeps
// ours.
func (a account) credential() *syscall.Credential {
	if !a.drop {
		return nil
	}
	return &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
}

// own gives path to the account.
func (a account) own(path string) error {
	if !a.drop {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}

// unreachable returns the first directory on the way to path, path included,
// that the account may not enter, or "" when it may enter all. A path that does
// not exist yet is judged by the part that does.
func (a account) unreachable(path string) string {
	if !a.drop {
		return "" // what we cannot reach fails by itself, with its own error
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	closed := ""
	for dir := path; ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && !a.mayEnter(info) {
			closed = dir
		}
		if dir == filepath.Dir(dir) {
			return closed
		}
	}
}

func (a account) mayEnter(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	switch {
	case int(st.Uid) == a.uid:
		return info.Mode()&0o100 != 0
	case int(st.Gid) == a.gid:
		return info.Mode()&0o010 != 0
	default:
		return info.Mode()&0o001 != 0
	}
}
