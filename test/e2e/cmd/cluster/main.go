// Command cluster runs Dialback as a cluster on this machine until Ctrl-C, and
// starts again what is killed meanwhile.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/dialback/dialback/test/e2e/cluster"
)

// restartAfter leaves time to see that the others go on.
const restartAfter = 15 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) (err error) {
	bin := flag.String("bin", "bin", "folder of Dialback's binaries")
	tools := flag.String("tools", ".bin", "folder of etcd and etcdctl")
	flag.Parse()
	dir, err := os.MkdirTemp("", "dialback-cluster-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	config := cluster.Config{Dir: dir}
	if config.Bin, err = filepath.Abs(*bin); err != nil {
		return err
	}
	if config.Tools, err = filepath.Abs(*tools); err != nil {
		return err
	}
	fmt.Fprintln(out, "Starting 3 etcd, 2 auth, 2 registry, 2 connector, 2 frontdoor, haproxy and an agent ...")
	c, err := cluster.Start(ctx, config)
	if err != nil {
		if ctx.Err() != nil {
			return nil // Ctrl-C, and Start has ended all
		}
		return err
	}
	introduce(out, c, dir)
	watch(ctx, out, c)
	fmt.Fprintln(out, "\nEnding all of it ...")
	return c.Stop()
}

// introduce says what is there and what to try.
func introduce(out io.Writer, c *cluster.Cluster, dir string) {
	fmt.Fprintf(out, "\nThe cluster is up. Open it in a browser:\n\n    %s\n\nWatch it from another terminal:\n\n"+
		"    while sleep 0.2; do curl -s -m 20 -o /dev/null -w '%%{http_code} ' %s; done\n\nand kill any part, or several:\n\n", c.URL, c.URL)
	table := tabwriter.NewWriter(out, 4, 0, 3, ' ', 0)
	for _, p := range c.Parts() {
		fmt.Fprintf(table, "    kill -9 %d\t# %s\n", p.PID(), p.Name)
	}
	_ = table.Flush()
	fmt.Fprintf(out, "\nWhat was killed is started again %v later. Logs: %s\nCtrl-C ends all of it.\n\n", restartAfter, filepath.Join(dir, "log"))
}

// watch says which part has ended, and starts it again, until ctx ends.
func watch(ctx context.Context, out io.Writer, c *cluster.Cluster) {
	var watchers sync.WaitGroup
	for _, p := range c.Parts() {
		watchers.Go(func() {
			for {
				select {
				case <-p.Ended():
				case <-ctx.Done():
					return
				}
				fmt.Fprintf(out, "%s  %s has ended\n", time.Now().Format(time.TimeOnly), p.Name)
				select {
				case <-time.After(restartAfter):
				case <-ctx.Done():
					return
				}
				if err := p.Start(); err != nil {
					fmt.Fprintf(out, "%s  %s: %v\n", time.Now().Format(time.TimeOnly), p.Name, err)
					return
				}
				fmt.Fprintf(out, "%s  %s is back: kill -9 %d\n", time.Now().Format(time.TimeOnly), p.Name, p.PID())
			}
		})
	}
	watchers.Wait()
}
