package etcdstore

import (
	"crypto/rand"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/dialback/dialback/internal/hostname"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// The registry's keys, all below one prefix. A name is a hostname written from
// its root on (com/example/app), so that a domain's sub-tree is one range and
// its ancestors are found by cutting labels; no label has a slash, a star or a
// colon. A wildcard's last label is a star (com/example/dev/*), so that it lies
// in the sub-tree that it stands for; a port's name is tcp:<number>.
//
//	state/                  what replicas watch
//	  epoch                              Epoch
//	  ended                              Ended: why attachments were deleted in this revision
//	  claim/<name>                       Claim, without a lease
//	  attach/<name>//<connector>/<session>  Attachment, the connector's lease
//	  node/<connector|frontdoor>/<id>    Node, the node's lease
//	  reserve/<name>                     Reservation
//	index/                  what only transactions read
//	  session/<connector>/<session>/<name>  SessionEntry, the lease of its attachment
//	  tunnel/<account>/<agent>/<tunnel>  TunnelEntry, as long as its claim
//	  quota/<account>                    Usage, of accounts that have had a quota
//	  reservation/<account>/<name>       empty, as long as its reservation
//	  floor                              HistoryFloor
//	freed/<hash>             empty, put whenever one of the hash's names becomes free
//	history/<time>-<random>  History: what the transaction that wrote it did
//
// The empty label behind an attachment's name keeps it out of the range of the
// names below it. One key is enough for all Ended: a watcher is given each put
// of it, in the revision of the deletions that it explains. A history's key sorts
// by the clock of who wrote it, which is good enough to remove the oldest ones;
// their order is that of their revisions.
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

	// ReservePrefix is before each reserved name.
	ReservePrefix = StatePrefix + "reserve/"
	// HistoryPrefix is before what is kept of the past.
	HistoryPrefix = Prefix + "history/"
	// FloorKey says up to where it is not.
	FloorKey = Prefix + "index/floor"

	sessionPrefix     = Prefix + "index/session/"
	tunnelPrefix      = Prefix + "index/tunnel/"
	quotaPrefix       = Prefix + "index/quota/"
	reservationPrefix = Prefix + "index/reservation/"
)

// ClaimKey is the key of a hostname's claim.
func ClaimKey(host string) string { return ClaimPrefix + hostname.Reversed(host) }

// freedKey is written when a name becomes free. Names share the keys, so that
// there are never more than these: who binds one is at worst to read again.
func freedKey(host string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(host)) // never fails
	return fmt.Sprintf("%sfreed/%03x", Prefix, h.Sum32()%(1<<12))
}

// membersPrefix is before the claims of a pool's members.
func membersPrefix(pool string) string { return ClaimKey(pool) + "/@" }

// ReserveKey is the key of a name's reservation.
func ReserveKey(name string) string { return ReservePrefix + hostname.Reversed(name) }

// below is the sub-tree of a wildcard in the claims or reservations: the keys of
// all names that it stands for, and its own.
func below(prefix, wildcard string) string {
	return prefix + hostname.Reversed(directory.Base(wildcard)) + "/"
}

func reservedBy(account, name string) string {
	return reservationsOf(account) + hostname.Reversed(name)
}

func reservationsOf(account string) string { return reservationPrefix + account + "/" }

func quotaKey(account string) string { return quotaPrefix + account }

// historyKey is a new one.
func historyKey(now time.Time) string {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	return fmt.Sprintf("%s-%x", historyTime(now), random)
}

// historyTime is before the keys of a time and behind those of all times before.
func historyTime(t time.Time) string { return fmt.Sprintf("%s%016x", HistoryPrefix, t.UnixMicro()) }

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

func tunnelKey(k directory.TunnelKey) string { return agentPrefix(k.Account, k.Agent) + k.Tunnel }

// agentPrefix is before the tunnels of one agent, accountPrefix before those of an account.
func agentPrefix(account, agent string) string { return accountPrefix(account) + agent + "/" }

func accountPrefix(account string) string { return tunnelPrefix + account + "/" }

func nodeKindPrefix(kind directory.NodeKind) string {
	if kind == directory.Frontdoor {
		return NodePrefix + "frontdoor/"
	}
	return NodePrefix + "connector/"
}

// NodeKey is the key of a node's record.
func NodeKey(kind directory.NodeKind, id string) string { return nodeKindPrefix(kind) + id }
