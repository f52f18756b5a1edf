package proxyconn

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// verdict is what an end has to do with a frame that it receives.
type verdict string

const (
	fine    verdict = "take it"
	ignored verdict = "ignore it"
	late    verdict = "answer it" // an abort of what has just ended
	fatal   verdict = "close the connection"
)

// referee watches one end's frames and knows, from the protocol alone, what the
// end may say and what it has to make of what it hears.
type referee struct {
	agent bool
	http  bool
	wrong []string // what the end should not have said

	n    uint64 // of the newest exchange
	open bool   // that one is not over for this end

	ack, resp, refused         bool // by whoever says it
	finIn, stopIn, resetIn     bool
	finSaid, stopSaid          bool
	finOut, resetSaid, rstOut  bool // Out: the write has returned
	early, discarded, requests int
	retireIn, lateAnswered     bool
	behind                     bool // a START waits for a write of this end to return
}

// over says that nothing more can come of the exchange: this end's direction
// is ended and written, the other's is read.
func (r *referee) over() bool {
	if r.resetSaid {
		return r.rstOut && r.resetIn
	}
	return r.finOut && r.finIn
}

// decided is over but for the return of this end's last write, which the other
// end does not wait for.
func (r *referee) decided() bool {
	if r.resetSaid {
		return r.resetIn
	}
	return r.finSaid && r.finIn
}

func (r *referee) settle() {
	if r.open && r.over() {
		r.open = false
	}
}

func (r *referee) begin(n uint64) {
	keep := *r
	*r = referee{agent: keep.agent, http: keep.http, wrong: keep.wrong, retireIn: keep.retireIn, n: n, open: true, behind: keep.open}
}

// heard judges a frame that comes in, and notes it if it is legal.
func (r *referee) heard(p parcel) verdict {
	v := r.judge(p)
	if v != fine {
		return v
	}
	switch p.kind {
	case fStart:
		r.begin(p.exchange)
	case fAck:
		r.ack = true
	case fResp:
		r.resp = true
		if respCode(p) != proxyv1.Code_CODE_OK {
			r.refused, r.finIn = true, true
		}
	case fReq:
		r.requests++
	case fFin:
		r.finIn = true
	case fStop:
		r.stopIn = true
	case fReset:
		r.resetIn = true
	case fRetire:
		r.retireIn = true
	case fData, fDelivered:
		r.count(p)
	}
	r.settle()
	return fine
}

func (r *referee) count(p parcel) {
	if r.resetSaid {
		r.discarded += len(p.payload())
	}
	if !r.resp {
		r.early += len(p.payload())
	}
}

func (r *referee) judge(p parcel) verdict {
	switch p.kind {
	case fPing, fPong, fRetire:
		return fine
	case fData, fDelivered:
		return r.judgeData(p)
	case fStart:
		return when(r.agent && (!r.open || r.decided()) && p.exchange == r.n+1)
	}
	if !r.open || p.exchange != r.n {
		return r.judgeStranger(p)
	}
	mine := !r.agent // what only the agent says
	switch p.kind {
	case fAck:
		return when(mine && !r.ack && !r.resetIn)
	case fResp:
		return when(mine && r.ack && !r.resp && !r.resetIn)
	case fReq:
		return when(r.agent && r.http && !r.finIn && !r.resetIn && (r.resp || r.requests == 0))
	case fFin:
		return when(!r.finIn && !r.resetIn && (r.agent || r.resp))
	case fStop:
		return when(!r.stopIn && !r.resetIn && (r.agent || r.resp && !r.refused))
	case fReset:
		return when(!r.resetIn)
	}
	return fatal
}

func (r *referee) judgeData(p parcel) verdict {
	legal := r.open && !r.finIn && !r.resetIn
	if r.agent {
		legal = legal && p.kind == fData && (!r.http || r.requests > 0) &&
			(r.resp || r.resetSaid || r.early+len(p.payload()) <= MaxEarly)
	} else {
		legal = legal && r.resp
	}
	if r.resetSaid && r.discarded+len(p.payload()) > abortBudget {
		legal = false
	}
	return when(legal)
}

// judgeStranger judges a frame of an exchange that is not under way.
func (r *referee) judgeStranger(p parcel) verdict {
	if p.exchange == 0 {
		return fatal
	}
	newest := !r.open && p.exchange == r.n
	if p.kind == fStop && (newest || !r.agent && (p.exchange == r.n || p.exchange+1 == r.n && r.open)) {
		return ignored
	}
	if p.kind == fReset && r.agent && newest && !r.lateAnswered {
		return late
	}
	return fatal
}

func when(legal bool) verdict {
	if legal {
		return fine
	}
	return fatal
}

// said judges what the end says.
func (r *referee) said(p parcel) {
	legal := true
	ours := p.exchange == r.n && r.n > 0
	ended := r.finSaid || r.resetSaid
	switch p.kind {
	case fStart:
		if legal = !r.agent && !r.open && p.exchange == r.n+1 && !r.retireIn; legal {
			r.begin(p.exchange)
		}
	case fAck:
		legal, r.ack = r.agent && ours && !r.ack && r.open, true
	case fResp:
		legal, r.resp = r.agent && ours && r.ack && !r.resp && !ended && r.open, true
		if respCode(p) != proxyv1.Code_CODE_OK {
			r.refused, r.finSaid = true, true
		}
	case fReq:
		legal, r.requests = !r.agent && ours && !ended && r.open, r.requests+1
	case fFin:
		legal, r.finSaid = ours && !ended && r.open && (!r.agent || r.resp && !r.refused), true
	case fStop:
		// One that was decided upon may find the exchange over.
		legal, r.stopSaid = ours && !r.stopSaid && !r.resetSaid, true
	case fReset:
		// The agent says no RESET of its own behind its FIN.
		legal = ours && !r.resetSaid && (!r.agent || !r.finSaid || r.resetIn)
		if !r.open { // the answer to an abort that came late
			legal, r.lateAnswered = r.agent && ours && !r.lateAnswered, true
		} else {
			r.resetSaid = true
		}
	case fData, fDelivered:
		legal = r.open && !ended && (!r.agent || r.resp && !r.refused)
		if !r.agent && !r.resp {
			r.early += len(p.payload())
			legal = legal && r.early <= MaxEarly
		}
	}
	if !legal {
		r.wrong = append(r.wrong, fmt.Sprintf("said %v of exchange %d in %+v", p.kind, p.exchange, *r))
	}
}

// spoke notes that the write of what was said has returned.
func (r *referee) spoke(p parcel) {
	r.behind = false
	switch {
	case p.exchange != r.n || !r.open:
	case p.kind == fFin || p.kind == fResp && r.refused:
		r.finOut = true
	case p.kind == fReset:
		r.rstOut = true
	}
	r.settle()
}

func respCode(p parcel) proxyv1.Code {
	var m proxyv1.Resp
	_ = proto.Unmarshal(p.payload(), &m)
	return m.GetCode()
}
