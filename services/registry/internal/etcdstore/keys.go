package etcdstore

import (
	"strings"

	"github.com/dialback/dialback/internal/hostname"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// The registry's keys, all below one prefix. A name is a hostname written from
// its root on (com/example/app), so that a domain's sub-tree is one range and
// its ancestors are found by cutting labels; no label has a slash or a star.
//
//	state/                  what replicas watch
//	  epoch                              Epoch
//	  ended                              Ended: why attachments were deleted in this revision
//	  claim/<name>                       Claim, without a lease
//	  attach/<name>//<connector>/<session>  Attachment, the connector's lease
//	  node/<connector|frontdoor>/<id>    Node, the node's lease
//	index/                  what only transactions read
//	  session/<connector>/<session>/<name>  SessionEntry, the lease of its attachment
//	  tunnel/<account>/<agent>/<tunnel>  TunnelEntry, as long as its claim
//
// The empty label behind an attachment's name keeps it out of the range of the
// names below it. One key is enough for all Ended: a watcher is given each put
// of it, in the revision of the deletions that it explains. Free for later:
// claim/<name>/* for wildcards, state/reserve/<name>, state/port/<number>,
// index/quota/<account>.
const (
	// Prefix is the registry's part of etcd.
	Prefix = "/dialback/registry/"
	// StatePrefix is the part that replicas keep a copy of.
	StatePrefix = Prefix + "state/"

	// EpochKey counts restores.
	EpochKey = StatePrefix + "epoch"
	// EndedKey explains deletions.
	EndedKey = StatePrefix + "ended"
	// ClaimPrefix is before each claim's name.
	ClaimPrefix = StatePrefix + "claim/"
	// AttachPrefix is before each attachment's name.
	AttachPrefix = StatePrefix + "attach/"
	// NodePrefix is before each node's kind and id.
	NodePrefix = StatePrefix + "node/"

	sessionPrefix = Prefix + "index/session/"
	tunnelPrefix  = Prefix + "index/tunnel/"
)

// ClaimKey is the key of a hostname's claim.
func ClaimKey(host string) string { return ClaimPrefix + hostname.Reversed(host) }

// attachPrefix is before the attachments of one hostname, and of no other.
func attachPrefix(host string) string { return AttachPrefix + hostname.Reversed(host) + "//" }

func attachKey(a directory.Attachment) string {
	return attachPrefix(a.Hostname) + a.Connector + "/" + a.Session
}

func sessionKey(a directory.Attachment) string {
	return sessionsPrefix(a.Connector, a.Session) + hostname.Reversed(a.Hostname)
}

// sessionsPrefix is before the entries of one session; with an empty session,
// before those of all the connector's.
func sessionsPrefix(connector, session string) string {
	if session == "" {
		return sessionPrefix + connector + "/"
	}
	return sessionPrefix + connector + "/" + session + "/"
}

// sessionOf returns the session in an entry's key.
func sessionOf(key, connector string) string {
	session, _, _ := strings.Cut(strings.TrimPrefix(key, sessionsPrefix(connector, "")), "/")
	return session
}

func tunnelKey(k directory.TunnelKey) string {
	return tunnelPrefix + k.Account + "/" + k.Agent + "/" + k.Tunnel
}

func nodeKindPrefix(kind directory.NodeKind) string {
	if kind == directory.Frontdoor {
		return NodePrefix + "frontdoor/"
	}
	return NodePrefix + "connector/"
}

func nodeKey(kind directory.NodeKind, id string) string { return nodeKindPrefix(kind) + id }
