package dist

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"time"
)

// key is what the ranks of a run know, and nobody else. It never travels: a MAC of what both ends just chose shows that it is known, so
// what was heard on one connection is worth nothing on another.
type key [32]byte

// newKey derives it: from the secret that the launcher gave, the run's name, and the token that lies in the run's directory. Where there is
// neither secret nor token, whoever knows the name may join.
func newKey(use, secret, job string, token []byte) key {
	mac := hmac.New(sha256.New, []byte("retool dist 1 "+use))
	for _, part := range [][]byte{[]byte(secret), []byte(job), token} {
		_ = binary.Write(mac, binary.LittleEndian, uint64(len(part)))
		mac.Write(part)
	}
	return key(mac.Sum(nil))
}

func (k key) mac(parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, k[:])
	for _, part := range parts {
		_ = binary.Write(mac, binary.LittleEndian, uint64(len(part)))
		mac.Write(part)
	}
	return mac.Sum(nil)
}

const (
	magic      = "retool/1" // begins what either end says
	maxMessage = 1 << 22    // bytes of a message before a connection is a rank's: a roster, with settings
)

// errStranger is what the other end is that does not know the key.
var errStranger = errors.New("the other end is no rank of this run")

// secured is a connection of which both ends are to show that they know the key.
type secured struct {
	conn net.Conn
	key  key
	ours [2][]byte // nonces: of who called, of who was called
}

// call opens the conversation from the side that called, and believes the other end.
func (s *secured) call() error {
	s.ours[0] = make([]byte, 32)
	if _, err := rand.Read(s.ours[0]); err != nil {
		return err
	}
	if _, err := s.conn.Write(append([]byte(magic), s.ours[0]...)); err != nil {
		return err
	}
	reply := make([]byte, len(magic)+64)
	if _, err := io.ReadFull(s.conn, reply); err != nil {
		return err
	}
	s.ours[1] = reply[len(magic):][:32]
	if string(reply[:len(magic)]) != magic || !hmac.Equal(reply[len(magic)+32:], s.key.mac([]byte("called"), s.ours[0], s.ours[1])) {
		return errStranger
	}
	return nil
}

// answer opens it from the side that was called. The other end is believed once the first receive has succeeded.
func (s *secured) answer() error {
	hello := make([]byte, len(magic)+32)
	if _, err := io.ReadFull(s.conn, hello[:len(magic)]); err != nil {
		return err
	}
	if string(hello[:len(magic)]) != magic {
		return errStranger
	}
	if _, err := io.ReadFull(s.conn, hello[len(magic):]); err != nil {
		return err
	}
	s.ours = [2][]byte{hello[len(magic):], make([]byte, 32)}
	if _, err := rand.Read(s.ours[1]); err != nil {
		return err
	}
	reply := append([]byte(magic), s.ours[1]...)
	_, err := s.conn.Write(append(reply, s.key.mac([]byte("called"), s.ours[0], s.ours[1])...))
	return err
}

// tell sends a message. use says which one of the conversation it is.
func (s *secured) tell(use string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(text)))
	b = append(append(b, text...), s.key.mac([]byte(use), s.ours[0], s.ours[1], text)...)
	_, err = s.conn.Write(b)
	return err
}

// hear receives it, and looks at nothing whose MAC is wrong.
func (s *secured) hear(use string, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(s.conn, head[:]); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > maxMessage {
		return errStranger
	}
	b, err := readBytes(s.conn, int(n)+sha256.Size)
	if err != nil {
		return err
	}
	text := b[:n]
	if !hmac.Equal(b[n:], s.key.mac([]byte(use), s.ours[0], s.ours[1], text)) {
		return errStranger
	}
	return json.Unmarshal(text, v)
}

// encryption is TLS between the holders of a key: all have one certificate, made of it, and take no other.
func (k key) encryption() (*tls.Config, error) {
	private := ed25519.NewKeyFromSeed(k.mac([]byte("tls")))
	public := private.Public().(ed25519.PublicKey)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return nil, fmt.Errorf("dist: TLS: %w", err)
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}},
		ClientAuth:         tls.RequireAnyClientCert,
		InsecureSkipVerify: true, // names and authorities mean nothing here: VerifyConnection asks for the run's own key
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || !public.Equal(s.PeerCertificates[0].PublicKey) {
				return errStranger
			}
			return nil
		},
	}, nil
}
