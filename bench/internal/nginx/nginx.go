// Package nginx runs Debian's nginx: as the service behind a tunnel, and as the
// reverse proxy that a tunnel is compared with.
package nginx

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/dialback/dialback/bench/internal/process"
)

const (
	// FileSize is the size of the file that the service answers with.
	FileSize = 1024
	// startLimit is how long nginx has to get ready.
	startLimit = 10 * time.Second
)

// The connection counts are never what a measurement meets; keepalive_requests is
// raised so that no connection is closed for its age.
const frame = `daemon off;
worker_processes auto;
pid nginx.pid;
error_log stderr notice;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
%s
}
`

const service = `  server {
    listen %s backlog=4096;
    root .;
    index file.txt;
  }`

const reverseProxy = `  upstream service { server %s; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen %s backlog=4096;
    location / {
      proxy_pass http://service;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
  }`

// StartService runs an nginx that answers / with a file of FileSize bytes. listen
// is "host:port"; dir is for its files alone.
func StartService(ctx context.Context, command process.Command, dir, listen string) (*process.Process, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the workers run as another user
		return nil, err
	}
	content := bytes.Repeat([]byte{'x'}, FileSize)
	if err := os.WriteFile(filepath.Join(dir, "file.txt"), content, 0o644); err != nil { //nolint:gosec // likewise
		return nil, err
	}
	return start(ctx, command, "nginx (service)", dir, fmt.Sprintf(service, listen))
}

// StartProxy runs an nginx that passes everything to upstream, on connections that
// it keeps. Both addresses are "host:port".
func StartProxy(ctx context.Context, command process.Command, dir, listen, upstream string) (*process.Process, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the workers run as another user
		return nil, err
	}
	return start(ctx, command, "nginx (reverse proxy)", dir, fmt.Sprintf(reverseProxy, upstream, listen))
}

func start(ctx context.Context, command process.Command, name, dir, servers string) (*process.Process, error) {
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, frame, servers), 0o600); err != nil {
		return nil, err
	}
	p, err := process.Start(command, process.Spec{Name: name, Path: Path(), Args: []string{"-e", "stderr", "-p", dir, "-c", file}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	// It listens before it starts the first worker.
	if err := p.WaitLine(ctx, process.Contains("start worker process ")); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

// Path finds nginx, also where only root has it in its PATH.
func Path() string {
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return "nginx"
}
