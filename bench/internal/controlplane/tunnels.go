package controlplane

import "fmt"

// Crowd is agents that nobody has seen before, each with one tunnel.
type Crowd struct {
	// Size is how many they are, of Accounts in turn.
	Size, Accounts int
	// MaxEndpoints is each account's limit; 0: it is not counted.
	MaxEndpoints uint32
	// Prefix, and a number, name the tunnels.
	Prefix string
}

// Tunnels signs for a crowd's at a connector, which is to happen before a load
// begins: auth's work is not the registry's.
func (p *Plane) Tunnels(c Crowd, connector string) ([]Tunnel, error) {
	list := make([]Tunnel, c.Size)
	for i := range list {
		assertion, err := p.Assert(Agent{
			Account: fmt.Sprintf("account-%d", i%c.Accounts), ID: "agent-" + RandomHex(16), MaxEndpoints: c.MaxEndpoints,
		}, connector)
		if err != nil {
			return nil, err
		}
		list[i] = Tunnel{
			Assertion: assertion, ID: RandomHex(16), Session: "s-" + RandomHex(8), Hostname: fmt.Sprintf("%s%d.%s", c.Prefix, i, Domain),
		}
	}
	return list, nil
}
