package frontdoor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/frontdoor/internal/ingress"
)

const (
	keysRetry   = time.Second
	keysRefresh = 5 * time.Minute
	keysTimeout = 5 * time.Second
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
	if f.cfg.HTTPListen == "" {
		return nil
	}
	if f.clear, err = ingress.Listen(ctx, f.cfg.HTTPListen); err != nil {
		return fmt.Errorf("frontdoor: %w", err)
	}
	return nil
}

func (f *Frontdoor) closeListeners() {
	if f.secure != nil {
		_ = f.secure.Close()
	}
	if f.clear != nil {
		_ = f.clear.Close()
	}
}

// fetchKeys keeps the key of trace MACs. Without it visitors are served, and
// agents' spans are dropped.
func (f *Frontdoor) fetchKeys(ctx context.Context) error {
	client := authv1.NewCredentialServiceClient(f.deps.Auth)
	for {
		wait := keysRefresh
		call, cancel := context.WithTimeout(ctx, keysTimeout)
		keys, err := client.GetKeys(call, &authv1.GetKeysRequest{})
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			f.log.Warn("auth does not give the key of trace MACs", "error", err)
			wait = keysRetry
		default:
			key := keys.GetTraceMacKey()
			f.macKey.Store(&key)
		}
		timer := time.NewTimer(wait/2 + time.Duration(rand.Int64N(int64(wait)))) // #nosec G404 -- jitter
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

func (f *Frontdoor) traceKey() []byte {
	if key := f.macKey.Load(); key != nil {
		return *key
	}
	return nil
}
