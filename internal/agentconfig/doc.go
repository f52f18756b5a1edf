// Package agentconfig is the agent's configuration file: which servers it may
// use, with the token and the pins of each. Both ends write it: the agent's
// `config add-server`, and a standalone server for the agents of its own
// machine.
//
// The file holds secrets: it is written atomically, readable by its owner alone.
package agentconfig
