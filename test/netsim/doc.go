// Package netsim joins two network namespaces of this machine by a line with a
// real delay, so that processes in them meet as hosts far apart do: every packet
// waits, a SYN too, and TCP sees a true round trip.
//
// The line is a relay in user space between two TUN devices, for a kernel without
// netem. It needs Linux, root, /dev/net/tun and iproute2; Supported tells.
//
// The relay is two threads of this process, one for each direction. They go before
// other threads, but to run they need one of the process's GOMAXPROCS places, which a
// goroutine may hold whose thread the kernel has put aside: where delays are measured
// and the machine is busy, main should raise GOMAXPROCS by a few.
package netsim
