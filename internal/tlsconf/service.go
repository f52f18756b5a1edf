package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
)

// Service is a service's own certificate, from files that may be replaced at any
// time, with the authority that says who others are. Each new connection takes
// the certificate that is there then.
type Service struct {
	identity Identity
	files    *Files
	pool     *x509.CertPool
}

// WatchService loads a service's certificate, its key and the service CA. It
// looks for changes of the first two until ctx ends: see WatchFiles.
func WatchService(ctx context.Context, certFile, keyFile, caFile string, log *slog.Logger) (*Service, error) {
	pool, err := LoadPoolFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("service CA: %w", err)
	}
	files, err := WatchFiles(ctx, certFile, keyFile, log)
	if err != nil {
		return nil, fmt.Errorf("service %w", err)
	}
	identity, err := IdentityOf(files.Certificate().Leaf)
	if err != nil {
		return nil, fmt.Errorf("service certificate %s: %w", certFile, err)
	}
	return &Service{identity: identity, files: files, pool: pool}, nil
}

// Identity is who the service is. A certificate that is replaced keeps it.
func (s *Service) Identity() Identity { return s.identity }

// Server is ServiceServer with the current certificate.
func (s *Service) Server() *tls.Config {
	config := ServiceServer(tls.Certificate{}, s.pool)
	config.Certificates, config.GetCertificate = nil, s.files.GetCertificate
	return config
}

// Client is ServiceClient with the current certificate.
func (s *Service) Client(role string) *tls.Config {
	config := ServiceClient(tls.Certificate{}, s.pool, role)
	config.Certificates, config.GetClientCertificate = nil, s.GetClientCertificate
	return config
}

// GetClientCertificate is for tls.Config, for calls to others than services.
func (s *Service) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return s.files.Certificate(), nil
}

// LoadPoolFile reads PEM certificates of authorities from a file.
func LoadPoolFile(name string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	pool, err := LoadPool(pem)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return pool, nil
}
