package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/internal/version"
	"github.com/dialback/dialback/services/auth"
)

// flags are the command line's, the environment's and the file's.
type flags struct {
	Listen    string   `default:"127.0.0.1:7401" help:"Where nodes and dialbackctl call, host:port."`
	Server    string   `required:"" help:"Where agents connect, host:port; shown with each new authtoken."`
	CAPin     []string `help:"Pin of an authority that signs what agents connect to, sha256:<hex>; several during a rotation. None: publicly trusted certificates."`
	Etcd      []string `required:"" help:"etcd's endpoints."`
	EtcdCA    string   `type:"path" help:"CA of etcd's certificates, PEM. With it, etcd is called with the service certificate."`
	Cert      string   `required:"" type:"path" help:"Service certificate, PEM. Reloaded when it changes."`
	Key       string   `required:"" type:"path" help:"Its key, PEM."`
	CA        string   `required:"" type:"path" help:"CA of the service certificates, PEM."`
	LogFormat string   `enum:"text,json" default:"json" help:"Log as text or json."`
	LogLevel  string   `enum:"debug,info,warn,error" default:"info" help:"Log from this level on."`
}

// serve runs auth until ctx ends.
func serve(ctx context.Context, f flags) (err error) {
	log, err := telemetry.NewLogger(os.Stderr, f.LogFormat, f.LogLevel)
	if err != nil {
		return err
	}
	telemetry.SetErrorHandler(log)
	tracing, err := telemetry.New(ctx, telemetry.Config{Service: "auth", Instance: f.Listen, Version: version.Version}, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tracing.Shutdown(context.WithoutCancel(ctx))) }()
	config, err := f.config()
	if err != nil {
		return err
	}
	cert, err := tlsconf.WatchFiles(ctx, f.Cert, f.Key, log)
	if err != nil {
		return fmt.Errorf("service certificate: %w", err)
	}
	pool, err := loadPool(f.CA)
	if err != nil {
		return err
	}
	etcd, err := f.dialEtcd(cert)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, etcd.Close()) }()
	service, err := auth.New(config, auth.Deps{Etcd: etcd, TLS: serverTLS(cert, pool), Logger: log, Telemetry: tracing})
	if err != nil {
		return err
	}
	return service.Run(ctx)
}

func (f flags) config() (auth.Config, error) {
	c := auth.Default()
	c.Listen, c.Server = f.Listen, f.Server
	for _, text := range f.CAPin {
		pin, err := tlsconf.ParsePin(text)
		if err != nil {
			return c, fmt.Errorf("--ca-pin: %w", err)
		}
		c.CAPins = append(c.CAPins, pin)
	}
	return c, nil
}

// serverTLS takes the certificate anew for each connection.
func serverTLS(cert *tlsconf.Files, pool *x509.CertPool) *tls.Config {
	c := tlsconf.ServiceServer(tls.Certificate{}, pool)
	c.Certificates, c.GetCertificate = nil, cert.GetCertificate
	return c
}

func (f flags) dialEtcd(cert *tlsconf.Files) (*clientv3.Client, error) {
	config := clientv3.Config{
		Endpoints: f.Etcd, DialTimeout: 5 * time.Second,
		// A member that is gone without a word is left within seconds.
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 5 * time.Second,
		PermitWithoutStream: true, Logger: zap.NewNop(),
	}
	if f.EtcdCA != "" {
		pool, err := loadPool(f.EtcdCA)
		if err != nil {
			return nil, err
		}
		config.TLS = &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: pool,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert.Certificate(), nil },
		}
	}
	return clientv3.New(config)
}

func loadPool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path) // #nosec G304 -- the operator's own choice
	if err != nil {
		return nil, err
	}
	pool, err := tlsconf.LoadPool(pem)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return pool, nil
}
