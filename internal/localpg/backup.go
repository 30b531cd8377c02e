package localpg

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// SaveData copies the data directory of a server that is down, as a cold base
// backup does. to must not exist.
func (s *Server) SaveData(to string) error {
	if s.Running() {
		return s.fault("save_failed", errors.New("stop the server first"))
	}
	return cloneCluster(s.DataDir(), to, s.host.acc)
}

// LoadData puts a saved data directory, of this or another server of the same
// version, in the place of that of a server that is down.
func (s *Server) LoadData(from string) error {
	if s.Running() {
		return s.fault("load_failed", errors.New("stop the server first"))
	}
	if err := os.RemoveAll(s.DataDir()); err != nil {
		return fmt.Errorf("load data into %s: %w", s.Name(), err)
	}
	return cloneCluster(from, s.DataDir(), s.host.acc)
}

// BeStandby lets a server that is down start as a standby, until it is promoted.
func (s *Server) BeStandby() error {
	path := filepath.Join(s.DataDir(), "standby.signal")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return fmt.Errorf("make %s a standby: %w", s.Name(), err)
	}
	return s.host.acc.own(path)
}
