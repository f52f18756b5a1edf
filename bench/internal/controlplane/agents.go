package controlplane

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/bench/internal/process"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/tlsconf"
)

// startAuth starts the process that knows accounts and tokens.
func (p *Plane) startAuth(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	files, err := p.Credential(p.cfg.Dir, tlsconf.RoleAuth, "a1")
	if err != nil {
		return err
	}
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	p.keys = ports[0]
	p.judge, err = process.Start(process.Local, process.Spec{
		Name: "auth", Path: filepath.Join(p.cfg.Bin, "auth"), Env: os.Environ(),
		Args: append([]string{"--listen", p.keys, "--etcd", p.Etcd.Address, "--server", Domain + ":443"}, files...),
	})
	if err != nil {
		return err
	}
	return p.judge.WaitLine(ctx, process.Contains(`"auth serves"`))
}

// Authtoken makes a token with which agents may bind any free name.
func (p *Plane) Authtoken(ctx context.Context) (string, error) {
	cert, err := p.issue(tlsconf.RoleAdmin, "bench")
	if err != nil {
		return "", err
	}
	conn, err := rpc.Dial(rpc.ClientConfig{Target: "dns:///" + p.keys, TLS: tlsconf.ServiceClient(*cert, p.ca.Pool(), tlsconf.RoleAuth)})
	if err != nil {
		return "", err
	}
	resp, err := authv1.NewTokenServiceClient(conn).CreateToken(ctx, &authv1.CreateTokenRequest{})
	return resp.GetAuthtoken(), errors.Join(err, conn.Close())
}

// ConnectorProcess is a connector to which agents may come.
type ConnectorProcess struct {
	*process.Process
	Agents string // where they connect, host:port
	// ServerName is what it is called there, Pin who says so.
	ServerName string
	Pin        tlsconf.Pin
	Metrics    string // URL
}

// ConnectorProcess starts one with its defaults.
func (p *Plane) ConnectorProcess(ctx context.Context, name string) (*ConnectorProcess, error) {
	files, err := p.Credential(p.cfg.Dir, tlsconf.RoleConnector, name)
	if err != nil {
		return nil, err
	}
	c := &ConnectorProcess{ServerName: "control." + Domain, Pin: p.ca.Pin()}
	cert, err := p.ca.Issue(tlsconf.Request{DNSNames: []string{c.ServerName, "*." + c.ServerName}, Server: true})
	if err != nil {
		return nil, err
	}
	certFile, keyFile := filepath.Join(p.cfg.Dir, name+"-control.crt"), filepath.Join(p.cfg.Dir, name+"-control.key")
	if err := tlsconf.WritePair(cert, certFile, keyFile); err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	c.Agents, c.Metrics = ports[1], "http://"+ports[2]+"/metrics"
	c.Process, err = process.Start(process.Local, process.Spec{
		Name: name, Path: filepath.Join(p.cfg.Bin, "connector"), Env: os.Environ(),
		Args: append([]string{
			"--domain", Domain, "--listen", ports[0], "--address", ports[0], "--agent-listen", c.Agents, "--debug", ports[2],
			"--agent-cert", certFile, "--agent-key", keyFile, "--proxy-ca-pin", c.Pin.String(),
			"--auth", "dns:///" + p.keys, "--registry", "dns:///" + p.Address,
		}, files...),
	})
	return c, err
}
