package tlsconf

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// fileCheck is how often certificate files are looked at. Polling sees what
// every kind of mount and every way of replacing a file does.
const fileCheck = 2 * time.Second

// Files is a certificate and key in files that may be replaced at any time.
type Files struct {
	certFile, keyFile string
	log               *slog.Logger
	current           atomic.Pointer[tls.Certificate]
}

// WatchFiles loads the pair, or says what is wrong with it, and looks for
// changes until ctx ends. A pair that cannot be loaded later is logged and the
// last good one is kept: the two files are seldom replaced at one instant.
func WatchFiles(ctx context.Context, certFile, keyFile string, log *slog.Logger) (*Files, error) {
	f := &Files{certFile: certFile, keyFile: keyFile, log: log}
	stamp := f.stamp()
	if err := f.load(); err != nil {
		return nil, err
	}
	go f.watch(ctx, stamp)
	return f, nil
}

// Certificate returns the current pair.
func (f *Files) Certificate() *tls.Certificate { return f.current.Load() }

// GetCertificate is for tls.Config.
func (f *Files) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.current.Load(), nil
}

func (f *Files) watch(ctx context.Context, seen string) {
	tick := time.NewTicker(fileCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := f.stamp()
		if now == seen {
			continue
		}
		if err := f.load(); err != nil {
			f.log.Warn("certificate not reloaded, the last one is kept", "error", err)
		} else {
			f.log.Info("certificate reloaded", "file", f.certFile, "expires", f.Certificate().Leaf.NotAfter)
		}
		seen = now
	}
}

// stamp changes when one of the files does. It is taken before the load, so
// that a change during the load is seen at the next look.
func (f *Files) stamp() string {
	s := ""
	for _, name := range []string{f.certFile, f.keyFile} {
		if info, err := os.Stat(name); err == nil {
			s += fmt.Sprintf("%d %d;", info.ModTime().UnixNano(), info.Size())
		}
	}
	return s
}

func (f *Files) load() error {
	cert, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", f.certFile, f.keyFile, err)
	}
	f.current.Store(&cert)
	return nil
}
