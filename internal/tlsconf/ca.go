package tlsconf

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

const (
	caValidity   = 10 * 365 * 24 * time.Hour
	leafValidity = 90 * 24 * time.Hour
	// backdate lets a peer's clock be behind ours.
	backdate = time.Hour
)

// CA is a certificate authority with its key.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Request says what a certificate is to be good for.
type Request struct {
	// CommonName is the subject's; empty: one that tells a person what this is.
	CommonName string
	// DNSNames are the names that a server answers to; wildcards are allowed.
	DNSNames []string
	// IPAddresses are those that a server answers to.
	IPAddresses []net.IP
	// Identity goes into a URI SAN; the zero value: none.
	Identity Identity
	// Client and Server are the uses.
	Client, Server bool
	// ValidFor is the life of the certificate; 0: 90 days.
	ValidFor time.Duration
}

// NewCA makes an authority with a fresh P-256 key, in memory.
func NewCA(commonName string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName, Organization: []string{"Dialback"}},
		NotBefore:             time.Now().Add(-backdate),
		NotAfter:              time.Now().Add(caValidity),
		IsCA:                  true,
		MaxPathLenZero:        true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	cert, err := sign(template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return &CA{cert: cert, key: key}, nil
}

// LoadOrCreateCA reads the authority from dir/<name>.crt and dir/<name>.key, or
// makes it and writes them (the key 0600). It is an error if one of the two is
// missing: an authority that is replaced breaks every pin.
func LoadOrCreateCA(dir, name string) (*CA, error) {
	certFile, keyFile := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	certPEM, certErr := os.ReadFile(certFile) // #nosec G304 -- the operator's own data directory
	keyPEM, keyErr := os.ReadFile(keyFile)    // #nosec G304 -- as above
	switch {
	case certErr == nil && keyErr == nil:
		return parseCA(certPEM, keyPEM, certFile)
	case !errors.Is(certErr, fs.ErrNotExist) || !errors.Is(keyErr, fs.ErrNotExist):
		return nil, fmt.Errorf("authority %s is incomplete: restore both %s and %s, or remove both to begin with a new one: %w",
			name, certFile, keyFile, errors.Join(certErr, keyErr))
	}
	ca, err := NewCA("Dialback " + name)
	if err != nil {
		return nil, err
	}
	// The key first: a certificate without its key is the half that misleads.
	if err := writeKey(keyFile, ca.key); err != nil {
		return nil, err
	}
	return ca, os.WriteFile(certFile, ca.CertPEM(), 0o644) // #nosec G306 -- a public certificate
}

func parseCA(certPEM, keyPEM []byte, name string) (*CA, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", name, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("authority %s: not a CA with an ECDSA key", name)
	}
	return &CA{cert: pair.Leaf, key: key}, nil
}

// Issue signs a certificate with a fresh P-256 key. The chain contains the
// authority, so that a peer who only has its pin can verify it.
func (ca *CA) Issue(r Request) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if r.ValidFor == 0 {
		r.ValidFor = leafValidity
	}
	template := &x509.Certificate{
		NotBefore: time.Now().Add(-backdate),
		NotAfter:  time.Now().Add(r.ValidFor),
		KeyUsage:  x509.KeyUsageDigitalSignature,
		DNSNames:  r.DNSNames, IPAddresses: r.IPAddresses,
		Subject: pkix.Name{CommonName: r.commonName()},
	}
	if r.Identity != (Identity{}) {
		template.URIs = []*url.URL{r.Identity.uri()}
	}
	if r.Client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	if r.Server {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	leaf, err := sign(template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw, ca.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

func (r Request) commonName() string {
	switch {
	case r.CommonName != "":
		return r.CommonName
	case r.Identity != (Identity{}):
		return r.Identity.Role + " " + r.Identity.Name
	case len(r.DNSNames) > 0:
		return r.DNSNames[0]
	}
	return ""
}

// Pool returns a pool with this authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// Pin returns the pin of the authority's key.
func (ca *CA) Pin() Pin { return PinOf(ca.cert) }

// CertPEM returns the authority's certificate.
func (ca *CA) CertPEM() []byte { return encodeCert(ca.cert.Raw) }

// WritePair writes a certificate with its chain to certFile and its key to
// keyFile, the key 0600.
func WritePair(cert *tls.Certificate, certFile, keyFile string) error {
	key, ok := cert.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("write %s: not an ECDSA key", keyFile)
	}
	if err := writeKey(keyFile, key); err != nil {
		return err
	}
	var chain []byte
	for _, der := range cert.Certificate {
		chain = append(chain, encodeCert(der)...)
	}
	return os.WriteFile(certFile, chain, 0o644) // #nosec G306 -- a public certificate
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func sign(template, parent *x509.Certificate, pub *ecdsa.PublicKey, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
