package proxyconn

import "maps"

// every is a set of actions, each to be taken once, besides those that carry
// frames, which are not counted.
func every(names ...string) map[string]int {
	const always = 1000
	set := map[string]int{
		"to frontdoor": always, "to agent": always, "all to frontdoor": always, "all to agent": always,
		"frontdoor wrote": always, "agent wrote": always,
	}
	for _, name := range names {
		set[name] = 1
	}
	return set
}

// twice lets some of a set be taken twice.
func twice(set map[string]int, names ...string) map[string]int {
	set = maps.Clone(set)
	for _, name := range names {
		set[name] = 2
	}
	return set
}

var (
	// streaming leads to an exchange whose private connection stands.
	streaming = []string{"start", "to agent", "to frontdoor", "accept", "to frontdoor"}
	// again leads to the same behind an exchange that has ended cleanly.
	again = append(append([]string{}, streaming...),
		"closewrite", "to agent", "servicefin", "to frontdoor",
		"start", "to agent", "to frontdoor", "accept", "to frontdoor")

	// aborted leads to where the visitor's abort has found the exchange ended at
	// the agent.
	aborted = append(append([]string{}, streaming...), "closewrite", "to agent", "servicefin", "reset", "to agent")
	// answered leads to an HTTP request whose answer has come.
	answered = append(append([]string{}, streaming...), "request", "write", "all to agent", "reply", "to frontdoor")
	requests = every("write", "request", "answered", "reply", "servicefin", "servicedeaf", "closeread", "close", "cut")

	ends = []string{
		"write", "closewrite", "closeread", "reset", "close",
		"reply", "servicefin", "servicedeaf", "servicereset", "agentreset",
	}
	everything = append([]string{
		"start", "accept", "refuse", "fretire", "aretire", "fping", "aping", "cut", "tick",
	}, ends...)
)

var scenarios = []scenario{
	{
		name: "everything from idle", depth: 4, exchanges: 2,
		actions: twice(every(everything...), "start"),
	},
	{
		name: "everything while streaming", depth: 3, exchanges: 2, prefix: streaming,
		actions: every(everything...),
	},
	{
		name: "ends of all kinds", depth: 4, exchanges: 2, prefix: streaming,
		actions: every(append(ends, "start")...),
	},
	{
		name: "exchanges in a row", depth: 7, exchanges: 3, prefix: streaming,
		actions: twice(every("start", "accept", "write", "closewrite", "reply", "servicefin", "close"), "start", "accept", "close"),
	},
	{
		name: "retiring", depth: 6, exchanges: 2,
		actions: every("start", "accept", "close", "fretire", "aretire", "fping", "aping", "servicefin"),
	},
	{
		name: "strangers", depth: 3, exchanges: 3, prefix: again, strangers: true,
		actions: every("closewrite", "servicefin", "start", "reset", "agentreset", "accept", "refuse"),
	},
	{
		name: "strangers from idle", depth: 4, exchanges: 2, strangers: true,
		actions: every("start", "accept", "refuse", "write", "close"),
	},
	{
		name: "strangers behind a late abort", depth: 2, exchanges: 3, prefix: aborted, strangers: true,
		actions: every("start"),
	},
	{
		name: "before the answer", depth: 4, exchanges: 2, prefix: []string{"start"},
		actions: every("start", "write", "flood", "accept", "refuse", "closewrite", "close", "reset"),
	},
	{
		name: "floods", depth: 3, exchanges: 2, prefix: streaming,
		actions: every("flood", "replyflood", "reset", "agentreset", "close", "servicereset", "start"),
	},
	{
		name: "slow service", depth: 4, exchanges: 2, prefix: streaming, slow: true,
		actions: every("write", "closewrite", "closeread", "reset", "close", "reply", "servicefin", "agentreset", "serviceready", "start"),
	},
	{
		name: "slow writes of the frontdoor", depth: 9, exchanges: 3, holdFrontdoor: true,
		actions: twice(every("start", "closewrite", "reset", "closeread", "close", "accept", "servicefin"), "start"),
	},
	{
		name: "slow writes of the agent", depth: 9, exchanges: 3, holdAgent: true,
		actions: twice(every("start", "closewrite", "servicefin", "reset", "agentreset", "accept", "refuse"), "start"),
	},
	{
		name: "http", depth: 4, exchanges: 2, prefix: streaming, http: true,
		actions: twice(requests, "write", "request", "reply", "answered"),
	},
	{
		name: "http behind an answer", depth: 4, exchanges: 2, prefix: answered, http: true,
		actions: requests,
	},
}
