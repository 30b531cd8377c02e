package gossip

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"healer/topology"
)

// keyPoll is the time between two looks at the key file.
const keyPoll = time.Second

// keyring is the keys in use. The guard goes by the current ones; memberlist's
// own ring only ever gains keys: taking one out of it shifts a list that its
// readers hold without a lock, and what the guard lets pass has been opened with
// a current key anyway.
type keyring struct {
	path string
	list *memberlist.Keyring
	open atomic.Pointer[[]cipher.AEAD]

	mu      sync.Mutex
	stamp   stamp
	problem string
}

// stamp tells one content of the file from another, so that it is read only
// when something has happened to it.
type stamp struct {
	modified time.Time
	size     int64
	mode     os.FileMode
	failed   string
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{failed: err.Error()}
	}
	return stamp{modified: info.ModTime(), size: info.Size(), mode: info.Mode()}
}

// openKeyring reads the file for the first time: without a key nothing starts.
func openKeyring(path string) (*keyring, error) {
	k := &keyring{path: path, stamp: stampOf(path)}
	keys, err := ReadKeys(path)
	if err == nil {
		k.list, err = memberlist.NewKeyring(nil, keys[0])
	}
	if err == nil {
		err = k.use(keys)
	}
	if err != nil {
		return nil, &topology.Fault{
			Class: topology.Permanent, Code: "gossip_keys", Err: fmt.Errorf("gossip keys: %w", err),
			Hint: "make the file named by gossip.keys readable for the agent's user alone, with the keys of this cluster, one a line; `healer gossip keygen` prints one",
		}
	}
	return k, nil
}

// use begins to send with the first of the keys and to accept them all, and no
// others.
func (k *keyring) use(keys [][]byte) error {
	var open []cipher.AEAD
	for _, key := range keys {
		block, err := aes.NewCipher(key)
		if err != nil {
			return err
		}
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			return err
		}
		open = append(open, gcm)
		if err := k.list.AddKey(slices.Clone(key)); err != nil {
			return err
		}
	}
	k.open.Store(&open)
	return k.list.UseKey(keys[0])
}

// refresh reads the file again if it has changed. A file that cannot be used
// changes nothing but the problem: an agent that dropped its keys would be alone.
// It reports whether there was news.
func (k *keyring) refresh() (news bool, err error) {
	now := stampOf(k.path)
	k.mu.Lock()
	defer k.mu.Unlock()
	if now == k.stamp {
		return false, nil
	}
	k.stamp = now
	keys, err := ReadKeys(k.path)
	if err == nil {
		err = k.use(keys)
	}
	k.problem = ""
	if err != nil {
		k.problem = err.Error()
	}
	return true, err
}

// watch follows the file until ctx ends.
func (g *Gossip) watchKeys(ctx context.Context, k *keyring) {
	tick := time.NewTicker(keyPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch news, err := k.refresh(); {
		case err != nil:
			g.log.Error("the gossip keys were not changed: those in use stay", "error", err)
		case news:
			g.log.Info("gossip keys were read anew", "keys", k.count())
		}
	}
}

func (k *keyring) count() int { return len(*k.open.Load()) }

// state says what is wrong with the file since its last change; empty when
// nothing is.
func (k *keyring) state() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.problem
}
