package lifecycle_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/lifecycle"
)

const childEnv = "LIFECYCLE_TEST_CHILD"

// TestSignalledChild is the process that TestSecondSignalEndsAtOnce signals.
func TestSignalledChild(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		t.Skip("only as a child of TestSecondSignalEndsAtOnce")
	}
	ctx, stop := lifecycle.Signals(context.Background())
	defer stop()
	_, _ = os.Stdout.WriteString("ready\n")
	<-ctx.Done()
	_, _ = os.Stdout.WriteString(context.Cause(ctx).Error() + "\n")
	<-time.After(time.Minute) // a drain that takes too long
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestSignalledChild$", "-test.v")
			cmd.Env = append(os.Environ(), childEnv+"=1")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			if !scanFor(lines, "ready") {
				t.Fatal("the child is not ready")
			}
			signal(t, cmd, sig)
			if !scanFor(lines, sig.String()+" signal received") {
				t.Fatal("the child does not say why it stops")
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			err = signalUntil(t, cmd, sig, ended)
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				t.Fatalf("the child ended with %v, want %v", err, sig)
			}
			if status, ok := exit.Sys().(syscall.WaitStatus); !ok || status.Signal() != sig {
				t.Errorf("the child ended with %v, want %v", err, sig)
			}
		})
	}
}

func scanFor(lines *bufio.Scanner, want string) bool {
	for lines.Scan() {
		if lines.Text() == want {
			return true
		}
	}
	return false
}

func signal(t *testing.T, cmd *exec.Cmd, sig os.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}

// signalUntil repeats the signal, for its default effect is back only a moment after
// the context has ended.
func signalUntil(t *testing.T, cmd *exec.Cmd, sig os.Signal, ended <-chan error) error {
	t.Helper()
	for {
		signal(t, cmd, sig)
		select {
		case err := <-ended:
			return err
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the child outlives the test")
		}
	}
}
