package agent

import (
	"fmt"
	"runtime"
	"time"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
)

// auth introduces this process.
func (r *run) auth() *agentv1.Auth {
	identity := r.slot.Identity()
	return &agentv1.Auth{
		AgentVersion:        r.config.Version,
		Os:                  runtime.GOOS,
		Arch:                runtime.GOARCH,
		Authtoken:           r.config.Authtoken.Reveal(),
		AgentId:             identity.AgentID,
		ResumeToken:         identity.ResumeToken,
		Instance:            r.instance[:],
		MaxProxyConnections: uint32(r.config.MaxConnections), // #nosec G115 -- far below
	}
}

// adopt keeps the identity that the server gave. The token comes when it is new.
func (r *run) adopt(welcome *agentv1.AuthResp) {
	identity := r.slot.Identity()
	if welcome.GetResumeToken() != "" {
		identity.ResumeToken = welcome.GetResumeToken()
	} else if identity.AgentID != welcome.GetAgentId() {
		return // an id that nothing will prove is not worth keeping
	}
	identity.AgentID = welcome.GetAgentId()
	if err := r.slot.SetIdentity(identity); err != nil {
		r.emit(Notice{Text: fmt.Sprintf("the state file cannot be written: %v", err)})
	}
}

// startAnew drops the identity that another process uses, a copy of this machine
// for instance, and is never used by this one again: the two would take each
// other's names for ever. No attachment of the old one is left behind.
func (r *run) startAnew() error {
	r.emit(TakenOver{})
	r.endTry()
	r.closeAll()
	if err := r.slot.Forget(); err != nil {
		return fmt.Errorf("drop the identity that another process uses: %w", err)
	}
	r.register()
	r.retryAt = time.Time{}
	return nil
}
