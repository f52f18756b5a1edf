package ctl

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
)

// kind is a kind of resource, as REST has it. All commands work on this table.
type kind struct {
	// name is the plural, as in the path; singular is taken as well.
	name, singular string
	// item is one resource, page the answer to a list of them.
	item, page proto.Message
	// create is the body of a create, created its answer; nil: it is not created here.
	create, created proto.Message
	// updatable, deletable: REST has PATCH, DELETE.
	updatable, deletable bool
	// events is the kind of its events; "": there are none.
	events string
	// of is the resource in the path, and filter the ones of it that this kind is;
	// "": it is a resource of its own.
	of, filter string
	// columns of the table: a title and the path of a field.
	columns []column
}

type column struct{ title, path string }

var nodeColumns = []column{
	{"ID", "id"}, {"KIND", "kind"}, {"STATE", "state"}, {"ADDRESS", "address"}, {"AGENTS", "agent_addresses"}, {"VERSION", "version"},
}

var kinds = []kind{
	{
		name: "accounts", singular: "account", item: &authv1.Account{}, page: &authv1.ListAccountsResponse{},
		create: &authv1.Account{}, created: &authv1.Account{}, updatable: true, deletable: true, events: "account",
		columns: []column{
			{"ID", "id"}, {"NAME", "display_name"}, {"DISABLED", "disabled"}, {"AGENTS", "quotas.max_agents"},
			{"ENDPOINTS", "quotas.max_endpoints"}, {"CONNECTIONS", "quotas.max_connections"}, {"CREATED", "create_time"},
		},
	},
	{
		name: "tokens", singular: "token", item: &authv1.Token{}, page: &authv1.ListTokensResponse{},
		create: &authv1.CreateTokenRequest{}, created: &authv1.CreateTokenResponse{},
		updatable: true, deletable: true, events: "token",
		columns: []column{
			{"ID", "id"}, {"ACCOUNT", "account_id"}, {"KIND", "kind"}, {"ROLE", "role"}, {"GRANTS", "grants"},
			{"CREATED", "create_time"}, {"EXPIRES", "expire_time"}, {"REVOKED", "revoke_time"}, {"USED", "last_use_time"}, {"DESCRIPTION", "description"},
		},
	},
	{
		name: "reservations", singular: "reservation", item: &registryv1.Reservation{}, page: &registryv1.ListReservationsResponse{},
		create: &registryv1.Reservation{}, created: &registryv1.Reservation{}, updatable: true, deletable: true, events: "reservation",
		columns: []column{{"NAME", "id"}, {"ACCOUNT", "account_id"}, {"CREATED", "create_time"}, {"DESCRIPTION", "description"}},
	},
	{
		name: "tunnels", singular: "tunnel", item: &registryv1.Tunnel{}, page: &registryv1.ListTunnelsResponse{}, deletable: true, events: "tunnel",
		columns: []column{
			{"NAME", "id"}, {"ACCOUNT", "account_id"}, {"PROTOCOL", "protocol"}, {"STATE", "state"}, {"AGENT", "agent_id"},
			{"CREATED", "create_time"}, {"THROUGH", "attachments.connector_id"}, {"PROBLEMS", "port_problems.problem"},
		},
	},
	{
		name: "nodes", singular: "node", item: &registryv1.Node{}, page: &registryv1.ListNodesResponse{}, events: "node",
		columns: nodeColumns,
	},
	{
		name: "connectors", singular: "connector", of: "nodes", filter: "kind=connector",
		item: &registryv1.Node{}, page: &registryv1.ListNodesResponse{}, columns: nodeColumns,
	},
	{
		name: "frontdoors", singular: "frontdoor", of: "nodes", filter: "kind=frontdoor",
		item: &registryv1.Node{}, page: &registryv1.ListNodesResponse{}, columns: nodeColumns,
	},
	{
		name: "sessions", singular: "session", item: &connectorv1.Session{}, page: &frontdoorv1.ListSessionsResponse{}, deletable: true,
		columns: []column{
			{"ID", "id"}, {"ACCOUNT", "account_id"}, {"AGENT", "agent_id"}, {"CONNECTOR", "connector_id"}, {"FROM", "client_address"},
			{"AGE", "age"}, {"HEARD", "silence"}, {"RTT", "round_trip"}, {"TUNNELS", "tunnels.hostname"},
		},
	},
}

func (k kind) path(id string) string {
	if id == "" {
		return "/v1/" + cmp.Or(k.of, k.name)
	}
	return k.path("") + "/" + escape(id)
}

// filterWith adds what makes resources this kind to what else is asked for.
func (k kind) filterWith(asked string) string {
	if k.filter != "" && asked != "" {
		return k.filter + " AND " + asked
	}
	return cmp.Or(k.filter, asked)
}

// findKind takes the plural and the singular.
func findKind(name string) (kind, error) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name || k.singular == name })
	if i < 0 {
		return kind{}, fmt.Errorf("%q is no kind of resource; there are: %s", name, strings.Join(kindNames(), ", "))
	}
	return kinds[i], nil
}

func kindNames() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	slices.Sort(names)
	return names
}
