package burst

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/dialback/dialback/bench/internal/nginx"
	"github.com/dialback/dialback/test/netsim"
)

// visitLimit bounds a burst.
const visitLimit = 20 * time.Second

// visitAll lets all visitors come at once from the server's own host, so that the
// line is only between server and agent.
func visitAll(ctx context.Context, from *netsim.Host, server, host string) (waits, error) {
	ctx, cancel := context.WithTimeout(ctx, visitLimit)
	defer cancel()
	times := make([]time.Duration, visitors)
	errs := make([]error, visitors)
	start := make(chan struct{})
	var there, done sync.WaitGroup
	there.Add(visitors)
	for i := range visitors {
		done.Go(func() {
			arrive := sync.OnceFunc(there.Done)
			defer arrive() // an error on the way must not hold up the others
			errs[i] = from.Do(func() (err error) {
				arrive()
				<-start
				times[i], err = visit(ctx, server, host)
				return err
			})
		})
	}
	there.Wait()
	close(start)
	done.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return sorted(times), nil
}

// visit makes one request on a connection of its own and returns the time from
// before the connect to the first byte of the answer.
func visit(ctx context.Context, server, host string) (time.Duration, error) {
	begin := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", server)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return 0, err
		}
	}
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host); err != nil {
		return 0, err
	}
	reader := bufio.NewReader(conn)
	if _, err := reader.Peek(1); err != nil {
		return 0, fmt.Errorf("no answer: %w", err)
	}
	wait := time.Since(begin)
	return wait, readAnswer(reader)
}

// readAnswer makes sure that it is the service's file.
func readAnswer(r *bufio.Reader) error {
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	size, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || size != nginx.FileSize {
		return fmt.Errorf("answered %s with %d bytes, want 200 with %d", resp.Status, size, nginx.FileSize)
	}
	return nil
}
