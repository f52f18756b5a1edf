package directory

import (
	"slices"
	"strings"

	"github.com/dialback/dialback/internal/hostname"
)

// NodeKind is what a node does, by its number in the contract.
type NodeKind int32

// The kinds.
const (
	Connector NodeKind = 1
	Frontdoor NodeKind = 2
)

// NodeState is where a node is in its life, by its number in the contract.
type NodeState int32

// The states. A node without a record is gone.
const (
	Ready    NodeState = 1
	Draining NodeState = 2
)

// Node is a connector or a frontdoor.
type Node struct {
	Kind           NodeKind
	ID             string
	State          NodeState
	Address        string
	AgentAddresses []string
	RelayAddress   string
	Version        string
	Capabilities   []string
	// DrainRequested: an operator wants it to drain.
	DrainRequested bool
	// Stored is the record's version, Registration its lease, and Record the node as
	// the store has it.
	Stored       Version
	Registration int64
	Record       any
}

// Nodes are all nodes that are alive, at one revision.
type Nodes struct {
	List     []Node
	Revision int64
}

// drains reports whether a connector is leaving, or is asked to.
func (n Node) drains() bool { return n.State == Draining || n.DrainRequested }

// lacks returns the first of the options that the node does not know, or "".
func (n Node) lacks(options []string) string {
	i := slices.IndexFunc(options, func(o string) bool { return !slices.Contains(n.Capabilities, o) })
	if i < 0 {
		return ""
	}
	return options[i]
}

// CheckNodeID holds if id is one that the bearer of a certificate with this
// name may use: the name, a hyphen, and a suffix of 4 to 32 lower-case letters
// and digits. The suffix has no hyphen, so that "a" cannot be "a-b-x1y2". Ids
// are labels of server names.
func CheckNodeID(id, name string) error {
	suffix, ok := strings.CutPrefix(id, name+"-")
	if !ok || len(suffix) < 4 || len(suffix) > 32 || strings.Trim(suffix, "0123456789abcdefghijklmnopqrstuvwxyz") != "" {
		return ErrDenied.WithMessage("%.80q is not a node id of %q: that is the name, a hyphen and 4 to 32 lower-case letters and digits, new at each start", id, name)
	}
	if label, err := hostname.Label(id); err != nil || label != id {
		return ErrDenied.WithMessage("%.80q cannot be a node id: it is not a label of a server name", id)
	}
	return nil
}

// Beat is what a node says of itself from time to time.
type Beat struct {
	Kind         NodeKind
	ID           string
	Registration int64
	State        NodeState
	// PortProblems are all that there are now.
	PortProblems []PortProblem
}

// PortProblem is a port that a frontdoor cannot listen on.
type PortProblem struct {
	Port    uint16
	Problem string
}
