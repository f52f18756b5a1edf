// Package directory decides who owns which endpoint.
//
// A claim is ownership and hangs on nothing; an attachment is a way to reach a
// claim and hangs on its connector's lease. Every decision is made on what the
// store itself has answered and takes effect only if all of that still holds,
// so that two agents never both own a name, whatever races. Generations fence:
// one that was superseded never comes back, because a name's next generation is
// always higher than all before it, even when the name was free in between.
package directory
