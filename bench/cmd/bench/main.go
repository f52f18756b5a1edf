// Command bench measures Dialback on this machine and says whether its goals are
// met. It fails when something went wrong, not when a goal is missed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dialback/dialback/bench/internal/binds"
	"github.com/dialback/dialback/bench/internal/burst"
	"github.com/dialback/dialback/bench/internal/failover"
	"github.com/dialback/dialback/bench/internal/machine"
	"github.com/dialback/dialback/bench/internal/routable"
	"github.com/dialback/dialback/bench/internal/routes"
	"github.com/dialback/dialback/bench/internal/scenario"
	"github.com/dialback/dialback/bench/internal/sessions"
	"github.com/dialback/dialback/bench/internal/throughput"
	"github.com/dialback/dialback/bench/internal/watchers"
)

// runLimit bounds a scenario.
const runLimit = 5 * time.Minute

// scenarios are all that there are, in the order in which they run.
func scenarios() []scenario.Scenario {
	return []scenario.Scenario{throughput.Scenario(), burst.Scenario(), binds.Scenario(), failover.Scenario(), watchers.Scenario(), routes.Scenario(), routable.Scenario(), sessions.Scenario()}
}

func main() {
	// A place for each thread of the delaying line at once, however busy the others are.
	runtime.GOMAXPROCS(runtime.NumCPU() + 4)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	bin, tools, document string
	scenarios            []scenario.Scenario
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.bin, "bin", "bin", "folder of the built programs")
	flags.StringVar(&o.tools, "tools", ".bin", "folder of etcd, for the group scale")
	flags.StringVar(&o.document, "document", "", "document whose tables are replaced; none: the tables are only printed")
	group := flags.String("group", string(scenario.Quick), "scenarios to run: quick or scale")
	only := flags.String("only", "", "scenarios to run instead of a group, with commas between them")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var err error
	if o.scenarios, err = choose(scenario.Group(*group), *only); err != nil {
		return o, err
	}
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return o, err
	}
	o.tools, err = filepath.Abs(o.tools)
	return o, err
}

// choose returns the scenarios that only names, or else those of the group.
func choose(group scenario.Group, only string) ([]scenario.Scenario, error) {
	if group != scenario.Quick && group != scenario.Scale {
		return nil, fmt.Errorf("--group %s: there are %s and %s", group, scenario.Quick, scenario.Scale)
	}
	var chosen []scenario.Scenario
	var names []string
	wanted := strings.Split(only, ",")
	for _, s := range scenarios() {
		names = append(names, s.Name)
		if slices.Contains(wanted, s.Name) || only == "" && s.Group == group {
			chosen = append(chosen, s)
		}
	}
	if only != "" && len(chosen) != len(wanted) {
		return nil, fmt.Errorf("--only %s: there are %s", only, strings.Join(names, ", "))
	}
	return chosen, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	setting := machine.Describe(ctx, filepath.Join(o.bin, "dialback"))
	for _, s := range o.scenarios {
		if err := measure(ctx, s, o, setting, log, stdout); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return nil
}

func measure(ctx context.Context, s scenario.Scenario, o options, setting string, log *slog.Logger, stdout io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	dir, err := os.MkdirTemp("", "dialback-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// nginx's workers run as a user of their own and read the file below it.
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the secrets lie in folders of their own
		return err
	}
	section, err := s.Run(ctx, scenario.Env{Bin: o.bin, Tools: o.tools, Dir: dir, Log: log})
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, section.Text(setting))
	for _, g := range section.Goals {
		fmt.Fprintln(stdout, g)
	}
	if o.document == "" {
		return nil
	}
	return section.Update(o.document, setting)
}
