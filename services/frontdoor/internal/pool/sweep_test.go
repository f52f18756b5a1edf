package pool

import (
	"testing"
	"time"
)

func TestAnOldConnectionIsRetiredNotCut(t *testing.T) {
	inBubble(t, Config{Keep: 2 * time.Hour}, func(r *rig) {
		release := r.hold()
		r.arrive(ann, Visitor)
		r.arrive(ann, Visitor)
		c := r.warm(ann)
		e := r.start(c)
		pass(life*4/5 - inspectEvery)
		if s := r.Stats(); s.Live != 2 {
			t.Errorf("before its time: %+v", s)
		}
		pass(life*2/5 + 2*inspectEvery)
		if s := r.Stats(); s.Live != 1 || s.Ended[Age] != 1 || !c.Retiring() {
			t.Errorf("behind it: %+v", s)
		}
		release()
		<-e.End()
		r.Put(c)
		settle()
		if s := r.Stats(); s.Live != 0 || s.Ended[Age] != 2 {
			t.Errorf("behind its last visitor: %+v", s)
		}
	})
}

func TestConnectionsOfOneMomentDoNotEndInOne(t *testing.T) {
	inBubble(t, Config{Keep: 2 * time.Hour}, func(r *rig) {
		for range 100 {
			r.arrive(ann, Visitor)
		}
		pass(life)
		if n := r.Stats().Ended[Age]; n < 20 || n > 80 {
			t.Errorf("%d of 100 have ended in the middle of the spread", n)
		}
	})
}

func TestAConnectionCarriesSoManyBytes(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.lifeBytes = 1000
		release := r.hold()
		r.arrive(ann, Visitor)
		c := r.warm(ann)
		e := r.start(c)
		if _, err := e.Write(make([]byte, 600)); err != nil {
			t.Fatal(err)
		}
		pass(inspectEvery + sweepEvery)
		if c.Retiring() {
			t.Error("retired too early")
		}
		if _, err := e.Write(make([]byte, 600)); err != nil {
			t.Fatal(err)
		}
		release()
		<-e.End()
		r.Put(c)
		pass(inspectEvery + sweepEvery)
		if s := r.Stats(); s.Live != 0 || s.Ended[Bytes] != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestANewCertificateRetiresConnections(t *testing.T) {
	inBubble(t, Config{Keep: time.Hour}, func(r *rig) {
		r.certificate.Store("old")
		for range 20 {
			r.arrive(ann, Visitor)
		}
		pass(time.Minute)
		r.certificate.Store("new")
		r.arrive(bob, Visitor)
		pass(renewWithin/2 + inspectEvery)
		if n := r.Stats().Ended[Certificate]; n == 0 || n == 20 {
			t.Errorf("%d of 20 have ended in the middle of the spread", n)
		}
		pass(renewWithin)
		if s := r.Stats(); s.Live != 1 || s.Ended[Certificate] != 20 {
			t.Errorf("%+v", s)
		}
		r.warm(bob)
	})
}

func TestAnAgentOfWhomNothingIsLeftIsForgotten(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		client := r.arrive(ann, Visitor)
		r.warm(ann)
		_ = client.Close()
		pass(recently + 2*inspectEvery)
		s := r.shard(ann.ID)
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.agents) != 0 {
			t.Errorf("%d agents are known", len(s.agents))
		}
	})
}

func TestAClosedPoolTakesNothing(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.arrive(ann, Visitor)
		r.arrive(ann, Visitor)
		c := r.warm(ann)
		r.Close()
		r.Put(c)
		if s := r.Stats(); s.Live != 0 || s.Ended[Drained] != 2 || c.Err() == nil {
			t.Errorf("%+v", s)
		}
		if r.Add(Arrival{Agent: ann}) {
			t.Error("it took one more")
		}
	})
}
