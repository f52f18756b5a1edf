package frontdoor

import (
	"context"
	"fmt"
	"net"

	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/frontdoor/internal/ingress"
)

func (f *Frontdoor) loadCertificates(ctx context.Context) error {
	for _, file := range f.cfg.Certificates {
		cert, err := tlsconf.WatchFiles(ctx, file.Cert, file.Key, f.log)
		if err != nil {
			return err
		}
		f.certs = append(f.certs, cert)
	}
	return nil
}

func (f *Frontdoor) listen(ctx context.Context) (err error) {
	if f.secure, err = ingress.Listen(ctx, f.cfg.TLSListen); err != nil {
		return fmt.Errorf("frontdoor: %w", err)
	}
	if f.cfg.HTTPListen != "" {
		if f.clear, err = ingress.Listen(ctx, f.cfg.HTTPListen); err != nil {
			return fmt.Errorf("frontdoor: %w", err)
		}
	}
	if f.cfg.APIListen != "" {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.cfg.APIListen)
		if err != nil {
			return fmt.Errorf("frontdoor: REST: %w", err)
		}
		f.api = f.apiListener(l)
	}
	if f.cfg.RelayListen != "" {
		if f.relayed, err = ingress.Listen(ctx, f.cfg.RelayListen); err != nil {
			return fmt.Errorf("frontdoor: relay: %w", err)
		}
	}
	return nil
}

func (f *Frontdoor) closeListeners() {
	if f.secure != nil {
		_ = f.secure.Close()
	}
	for _, l := range []*net.TCPListener{f.clear, f.relayed} {
		if l != nil {
			_ = l.Close()
		}
	}
	if f.api != nil {
		_ = f.api.Close()
	}
}
