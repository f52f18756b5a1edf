package process

import (
	"os"
	"testing"
)

func TestUsageOfThisProcess(t *testing.T) {
	t.Parallel()
	before, err := Own()
	if err != nil {
		t.Fatal(err)
	}
	for after := before; after.CPU == before.CPU; { // clock ticks are long
		if after, err = Own(); err != nil {
			t.Fatal(err)
		}
	}
	if before.Resident < int64(os.Getpagesize()) {
		t.Errorf("%d bytes are resident", before.Resident)
	}
}
