// Package proxyconn is both ends of a proxy connection: the frontdoor's (Server)
// and the agent's (Client).
//
// # The connection
//
// The agent dials, sends one RegProxy, and from there both ends send frames. A
// connection carries exchanges, one after another; each is one visitor's use of
// it, with a number that every control frame repeats. Between exchanges it is
// idle:
//
//	         START n                    both directions over
//	idle ------------> exchange n -----------------------------> idle, n+1 next
//	  |                    |
//	  | RETIRE, Close      | connection lost, violation, RESET unanswered
//	  v                    v
//	closed              closed by a TCP reset
//
// # An exchange
//
// The frontdoor sends START and, without waiting, up to 64 KiB of DATA, of which
// it keeps a copy. The agent answers ACK at once, dials, and answers RESP. If
// that is a refusal it counts as the agent's FIN; the frontdoor sends its own.
// Else DATA flows both ways, and each direction ends by itself:
//
//	direction   ended by                  counts as ended for the sender when
//	frontdoor   FIN or RESET              its write has returned
//	agent       FIN, refusal or RESET     its write has returned
//
// The exchange is over when an end has finished its own direction and read the
// end of the other. One function at each end (settleLocked) decides that. As
// frames are never read ahead, nothing of exchange n can stand in a buffer when
// n+1 begins.
//
// STOP says that its sender throws away what it receives; the receiver answers
// with FIN and the other direction goes on. So the early reply of a local
// service that has closed its ear arrives whole.
//
// RESET aborts. Each end sends one and discards until it has read the other's,
// for at most a second and 256 KiB, else it closes. Two races are settled by the
// numbers: the frontdoor's RESET may reach an agent for whom the exchange has
// just ended cleanly, and is answered all the same; the agent sends no RESET
// behind its FIN but a STOP, which is ignored if it comes late.
//
// # Delivered
//
// The agent counts the bytes that it hands to the local service, before each
// write, and says the number in refusals, FIN, RESET, and in DATA_DELIVERED. A
// request of which no byte is among them may be repeated elsewhere; having said
// so the agent never delivers it. On HTTP exchanges every answer has to prove
// that it is one: bytes that come before the request they would answer was
// delivered end the connection.
//
// # Who reads and writes
//
// Who reads never writes: control frames that reading gives rise to are posted
// and go out before the next frame, or by a short-lived goroutine. The agent's
// connection is read by Serve, which also writes to the local service; replies
// are read by the caller of Pipe. The frontdoor's is read by the callers of
// ServerExchange.Read, and by one goroutine whenever none of them is to.
package proxyconn
