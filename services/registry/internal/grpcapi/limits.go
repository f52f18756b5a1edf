package grpcapi

import (
	"slices"
	"strings"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// What a request may have. Everything that passes is stored, watched and held in
// memory by every frontdoor.
const (
	maxOptions         = 8 << 10
	maxCritical        = 16
	maxMetadata        = 16
	maxMetadataBytes   = 1 << 10
	maxName            = 64
	maxActor           = 1100 // "user:" and a person's name
	maxTrace           = 32
	maxAddress         = 262 // a hostname of 253, a colon, a port
	maxAddresses       = 16
	maxCapabilities    = 64
	maxReattach        = 1000
	maxProblems        = 64
	maxProblem         = 200
	maxPort            = 1<<16 - 1
	tunnelIDLength     = 32
	lowerHex           = "0123456789abcdef"
	sessionIDAlphabet  = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	maxHostnameInBytes = 1024
)

// fault gathers what is wrong with a request.
type fault struct{ name, description string }

func check(faults ...fault) error {
	err := directory.ErrInvalid
	bad := false
	for _, f := range faults {
		if f.description != "" {
			err, bad = err.WithField(f.name, f.description), true
		}
	}
	if !bad {
		return nil
	}
	fields := err.Fields()
	return err.WithMessage("%s: %s", fields[0].Name, fields[0].Description)
}

func when(bad bool, name, description string) fault {
	if !bad {
		return fault{}
	}
	return fault{name, description}
}

func checkBind(r *registryv1.BindRequest) error {
	return check(
		when(!isTunnelID(r.GetTunnelId()), "tunnel_id", "want 32 lower-case hexadecimal digits"),
		when(!isSessionID(r.GetSessionId()), "session_id", "want 1 to 64 letters, digits, hyphens and underscores"),
		when(len(r.GetOptions()) > maxOptions, "options", "at most 8 KiB"),
		when(!fewShort(r.GetCritical(), maxCritical), "critical", "at most 16, of 1 to 64 bytes"),
		when(!fitsMetadata(r.GetMetadata()), "metadata", "at most 16 entries and 1 KiB"),
		when(len(r.GetClientAddress()) > maxAddress, "client_address", "too long"),
		when(len(r.GetHostname()) > maxHostnameInBytes || len(r.GetSubdomain()) > maxHostnameInBytes, "name", "too long"),
		when(r.GetRemotePort() > maxPort, "remote_port", "want 1 to 65535"),
		when(emptyName(r), "name", "a name is empty; leave it out for a random one"),
	)
}

// emptyName holds for a name that is set and empty: an agent's mistake, which
// must not turn into a random name.
func emptyName(r *registryv1.BindRequest) bool {
	return r.GetName() != nil && r.GetHostname() == "" && r.GetSubdomain() == "" && r.GetRemotePort() == 0
}

func fitsProblems(list []*registryv1.PortProblem) bool {
	return len(list) <= maxProblems && !slices.ContainsFunc(list, func(p *registryv1.PortProblem) bool {
		return p.GetPort() == 0 || p.GetPort() > maxPort || len(p.GetProblem()) > maxProblem
	})
}

func checkNode(n *registryv1.Node) error {
	state := n.GetState()
	return check(
		when(state != registryv1.NodeState_NODE_STATE_READY && state != registryv1.NodeState_NODE_STATE_DRAINING, "node.state", "want ready or draining"),
		when(len(n.GetAddress()) > maxAddress, "node.address", "too long"),
		when(len(n.GetRelayAddress()) > maxAddress, "node.relay_address", "too long"),
		when(!fewOf(n.GetAgentAddresses(), maxAddresses, maxAddress), "node.agent_addresses", "at most 16, each host:port"),
		when(len(n.GetVersion()) > maxName, "node.version", "at most 64 bytes"),
		when(!fewShort(n.GetCapabilities(), maxCapabilities), "node.capabilities", "at most 64, of 1 to 64 bytes"),
	)
}

func isTunnelID(s string) bool {
	return len(s) == tunnelIDLength && strings.Trim(s, lowerHex) == ""
}

func isSessionID(s string) bool {
	return s != "" && len(s) <= maxName && strings.Trim(s, sessionIDAlphabet) == ""
}

func fewShort(list []string, most int) bool { return fewOf(list, most, maxName) }

func fewOf(list []string, most, length int) bool {
	if len(list) > most {
		return false
	}
	for _, s := range list {
		if s == "" || len(s) > length {
			return false
		}
	}
	return true
}

func fitsMetadata(m map[string]string) bool {
	size := 0
	for k, v := range m {
		size += len(k) + len(v)
	}
	return len(m) <= maxMetadata && size <= maxMetadataBytes
}
