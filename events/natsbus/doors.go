package natsbus

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/nats-io/nats-server/v2/server"

	"healer/events"
	"healer/internal/secretfile"
	"healer/internal/tlsfile"
)

// Doors says who is let into an embedded server. The zero Doors lets everybody in who
// reaches the addresses: events can then be read and forged, which can mislead a reader
// but never a healing, for Healer decides nothing by events.
type Doors struct {
	// TokenFile has the token that agents, and their servers, show one another.
	TokenFile string
	// ReaderTokenFile has one that opens the events for reading alone. It needs a
	// TokenFile.
	ReaderTokenFile string
	// Shared are the names of the sharings, of which a reader takes nothing away.
	Shared []string
	// TLS encrypts. The servers show each other certificates in any case; where there
	// is no token, clients show one too.
	TLS *tlsfile.Source
}

// The reasons for which somebody is turned away.
const (
	refusedLogin      = "login"
	refusedPermission = "permission"
	refusedTLS        = "tls"
	refusedSize       = "too_large"
)

// comeWithin is how many seconds a handshake, or a login, may take: on a busy host longer
// than the 2 of NATS.
const comeWithin = 10.0

// porter decides who is let in, and counts who is not.
type porter struct {
	Doors
	reader *server.Permissions
	// own is what the agent's own connection shows, which comes through no socket.
	own string

	mu      sync.Mutex
	refused map[string]uint64
}

func newPorter(d Doors, cluster string) *porter {
	return &porter{Doors: d, reader: readerMay(cluster, d.Shared), own: rand.Text(), refused: map[string]uint64{}}
}

// readerMay are the rights of who only reads the events of a cluster; docs/operations.md
// has the same for an external NATS.
func readerMay(cluster string, shared []string) *server.Permissions {
	stream := events.Stream(cluster)
	var deny []string
	for _, name := range shared {
		made, next := "$JS.API.CONSUMER.CREATE."+stream+"."+name, "$JS.API.CONSUMER.MSG.NEXT."+stream+"."+name
		deny = append(deny, made, made+".>", next)
	}
	return &server.Permissions{
		Publish: &server.SubjectPermission{Deny: deny, Allow: []string{
			"$JS.API.STREAM.INFO." + stream, "$JS.API.CONSUMER.CREATE." + stream + ".>", "$JS.API.CONSUMER.MSG.NEXT." + stream + ".>",
			"$JS.API.DIRECT.GET." + stream, "$JS.API.DIRECT.GET." + stream + ".>",
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{events.Subject(cluster, ">"), "_INBOX.>"}},
	}
}

// guard makes a server's options ask who comes. route is what its servers show.
func (p *porter) guard(o *server.Options) (route string, err error) {
	if p.TLS != nil {
		o.TLS, o.TLSConfig, o.TLSTimeout = true, p.TLS.Server(tls.RequestClientCert), comeWithin
		o.Cluster.TLSConfig, o.Cluster.TLSTimeout = p.TLS.Peer(), comeWithin
	}
	if p.TokenFile == "" && p.TLS == nil {
		return "", nil
	}
	o.CustomClientAuthentication, o.AuthTimeout = clientDoor{p}, 2*comeWithin
	if p.TokenFile == "" {
		return "", nil
	}
	if p.ReaderTokenFile != "" {
		if _, err := secretfile.ReadWord(p.ReaderTokenFile); err != nil {
			return "", err
		}
	}
	o.CustomRouterAuthentication = routeDoor{p}
	return secretfile.ReadWord(p.TokenFile)
}

func (p *porter) turn(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused[reason]++
}

func (p *porter) counts() map[string]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.refused)
}

// clientDoor is where clients come in.
type clientDoor struct{ *porter }

// Check implements server.Authentication.
func (d clientDoor) Check(c server.ClientAuthentication) bool {
	shown := c.GetOpts().Token
	switch {
	case same(shown, d.own), d.TokenFile != "" && opens(d.TokenFile, shown), d.TokenFile == "" && d.vouched(c.GetTLSConnectionState()):
		c.RegisterUser(&server.User{Username: "agent"})
		return true
	case d.TokenFile != "" && d.ReaderTokenFile != "" && opens(d.ReaderTokenFile, shown):
		c.RegisterUser(&server.User{Username: "reader", Permissions: d.reader})
		return true
	}
	d.turn(refusedLogin)
	return false
}

// vouched is asked where there is no token.
func (d clientDoor) vouched(is *tls.ConnectionState) bool {
	return is != nil && d.TLS != nil && tlsfile.Vouched(is.PeerCertificates, d.TLS.Authorities())
}

// routeDoor is where other servers come in. TLS has judged their certificates.
type routeDoor struct{ *porter }

// Check implements server.Authentication.
func (d routeDoor) Check(c server.ClientAuthentication) bool {
	if opens(d.TokenFile, c.GetOpts().Password) {
		return true
	}
	d.turn(refusedLogin)
	return false
}

// opens reports whether a word is the one in a file: as it is now, so that it may be
// replaced.
func opens(file, word string) bool {
	want, err := secretfile.ReadWord(file)
	return err == nil && same(word, want)
}

// same compares in a time that says nothing about the words.
func same(got, want string) bool {
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return want != "" && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// heed counts what the server itself turns away: it tells of that in its log alone.
func (p *porter) heed(format string, v []any) {
	line := fmt.Sprintf(format, v...)
	for _, told := range []struct{ words, reason string }{
		{"Publish Violation", refusedPermission},
		{"Subscription Violation", refusedPermission},
		{"handshake error", refusedTLS},
		{"maximum payload exceeded", refusedSize},
	} {
		if strings.Contains(line, told.words) {
			p.turn(told.reason)
			return
		}
	}
}
