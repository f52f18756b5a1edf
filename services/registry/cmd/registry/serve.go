package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/internal/version"
	"github.com/dialback/dialback/services/registry"
)

// flags are the command line's, the environment's and the file's.
type flags struct {
	Listen    string        `default:"127.0.0.1:7402" help:"Where nodes call, host:port."`
	Domain    string        `required:"" help:"The deployment's domain: names are given below it."`
	Auth      string        `required:"" help:"Where auth is, a gRPC target such as dns:///auth:7401."`
	Etcd      []string      `required:"" help:"etcd's endpoints."`
	EtcdCA    string        `type:"path" help:"CA of etcd's certificates, PEM. With it, etcd is called with the service certificate."`
	Cert      string        `required:"" type:"path" help:"Service certificate, PEM."`
	Key       string        `required:"" type:"path" help:"Its key, PEM."`
	CA        string        `required:"" type:"path" help:"CA of the service certificates, PEM."`
	LeaseTTL  time.Duration `default:"10s" help:"How long a node lives without a heartbeat."`
	Grace     time.Duration `default:"1m" help:"How long a name is kept for an agent that is not there."`
	Park      time.Duration `default:"720h" help:"How long a random name is kept for its tunnel after its end."`
	LogFormat string        `enum:"text,json" default:"json" help:"Log as text or json."`
	LogLevel  string        `enum:"debug,info,warn,error" default:"info" help:"Log from this level on."`
}

// serve runs the registry until ctx ends.
func serve(ctx context.Context, f flags) (err error) {
	log, err := telemetry.NewLogger(os.Stderr, f.LogFormat, f.LogLevel)
	if err != nil {
		return err
	}
	telemetry.SetErrorHandler(log)
	tracing, err := telemetry.New(ctx, telemetry.Config{Service: "registry", Instance: rand.Text(), Version: version.Version}, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tracing.Shutdown(context.WithoutCancel(ctx))) }()
	cert, pool, err := f.identity()
	if err != nil {
		return err
	}
	etcd, err := f.dialEtcd(cert)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, etcd.Close()) }()
	auth, err := rpc.Dial(rpc.ClientConfig{
		Target: f.Auth, TLS: tlsconf.ServiceClient(cert, pool, tlsconf.RoleAuth), Telemetry: tracing,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, auth.Close()) }()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.Listen)
	if err != nil {
		return err
	}
	config := registry.Default(f.Domain)
	config.LeaseTTL, config.Grace, config.Park = f.LeaseTTL, f.Grace, f.Park
	service, err := registry.New(config, registry.Deps{
		Etcd: etcd, TLS: tlsconf.ServiceServer(cert, pool), Listener: listener,
		Logger: log, Telemetry: tracing, AssertionKeys: registry.AuthKeys(auth),
	})
	if err != nil {
		return err
	}
	return service.Run(ctx)
}

// identity reads who this service is, and the CA that says who others are.
func (f flags) identity() (tls.Certificate, *x509.CertPool, error) {
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return cert, nil, fmt.Errorf("service certificate: %w", err)
	}
	pool, err := loadPool(f.CA)
	return cert, pool, err
}

func (f flags) dialEtcd(cert tls.Certificate) (*clientv3.Client, error) {
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
		config.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, RootCAs: pool}
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
