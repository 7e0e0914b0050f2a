package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/certlatch/certlatch/deployers"
	"github.com/certlatch/certlatch/internal/endpoint"
	"github.com/certlatch/certlatch/internal/lineage"
	"github.com/certlatch/certlatch/internal/outcome"
	"github.com/certlatch/certlatch/internal/prepare"
	"github.com/certlatch/certlatch/internal/probe"
)

// This file looks at what services really serve.

// chooseProbes settles which of the probes of each member count, where they were
// found. Where there are none, and must be some, the member has a fault.
func (r *run) chooseProbes(ctx context.Context, a attempt) attempt {
	a = a.each(func(m member) member {
		if !m.prepared.plan.Found {
			return m
		}
		m = m.leaveAway().keepAnswering()
		if len(m.counting) > 0 {
			return m.noteUnanswered().noteAway()
		}
		return m
	})
	gone := r.observeAll(ctx, a, member.provedElsewhere)
	members := slices.Clone(a.members)
	for i, m := range members {
		if !m.unserved() {
			continue
		}
		members[i] = m.expectProved(answering(gone[i]).silent).faultless()
	}
	a.members = members
	return a
}

// faultless returns the member with a fault where nothing could prove it: neither
// now, nor when its service can be reached or names its files.
func (m member) faultless() member {
	if len(m.counting) > 0 || m.isUnreached() || prepare.IsFilesFirst(m.prepared.plan) {
		return m
	}
	unproven := &outcome.NoProbeError{Target: m.prepared.job.target.Name}
	if len(m.away) > 0 { // whether the service would answer is not known
		unproven.Away, unproven.Taken, unproven.Diverted = m.away[0].Err, prepare.IsTaken(m.away[0]), prepare.IsDiverted(m.away[0])
		m.fault = unproven
		return m
	}
	m.fault = prepare.Unserved(m.prepared.job.target, m.prepared.plan, m.prepared.known.Proven, outcome.NoListenerError{}, unproven)
	return m
}

// displaced returns the member with a fault where nothing proves it any more, since
// another process has what its probes reached.
func (m member) displaced(before member) member {
	if len(before.counting) > 0 && len(m.counting) == 0 && m.fault == nil {
		return m.faultless()
	}
	return m
}

// leaveAway leaves those probes aside that do not reach the service.
func (m member) leaveAway() member {
	all := m.counting
	m.counting = nil
	for _, o := range all {
		if prepare.IsAway(o) {
			m.away = append(slices.Clip(m.away), o)
		} else {
			m.counting = append(m.counting, o)
		}
	}
	return m
}

// isUnreached reports whether nothing can prove a member as long as its service
// listens where it cannot be reached from here.
func (m member) isUnreached() bool {
	return m.prepared.plan.Found && len(m.counting) == 0 && prepare.Unreached(m.prepared.plan, m.away) != nil
}

// isUnreached reports whether that is so of some member.
func (a attempt) isUnreached() bool {
	return slices.ContainsFunc(a.members, member.isUnreached)
}

// noteAway notes at which addresses a member is not proven, since they are not this
// host's, or a packet filter leads away from them.
func (m member) noteAway() member {
	for _, o := range m.away {
		if note := o.Err.Error() + ", and it is not proven there"; (prepare.IsNotHere(o) || prepare.IsDiverted(o)) && !slices.Contains(m.notes, note) {
			m.notes = append(slices.Clip(m.notes), note)
		}
	}
	return m
}

// leaveAway leaves those probes aside whose address has left this host since they
// were looked at, or at which another process listens now.
func (r *run) leaveAway(ctx context.Context, a attempt) attempt {
	away := r.prep.Away(ctx, a.looks(member.probes))
	members := slices.Clone(a.members)
	for i, m := range members {
		for _, o := range away[i] {
			m.counting = slices.DeleteFunc(slices.Clone(m.counting), func(c probe.Observation) bool { return c.Endpoint == o.Endpoint })
			m.away = append(slices.Clip(m.away), o)
		}
		members[i] = m
	}
	a.members = members
	return a
}

// unserved reports whether none of the found probes of a member completed a
// handshake, though its service runs.
func (m member) unserved() bool {
	return m.prepared.plan.Found && len(m.counting) == 0 && m.activate.Wait != deployers.ServiceInactive
}

// provedElsewhere returns the probes that proved an unserved member before and were
// not found any more.
func (m member) provedElsewhere() []endpoint.Endpoint {
	if !m.unserved() {
		return nil
	}
	proved := prepare.Proved(m.prepared.known.Proven, m.prepared.plan)
	found := prepare.Endpoints(slices.Concat(m.silent, m.away))
	return slices.DeleteFunc(slices.Clone(proved), func(e endpoint.Endpoint) bool { return prepare.Among(e, found) })
}

// keepAnswering leaves the found probes aside that completed no handshake. If
// none did, all of them count for a first installation: it may be what brings
// TLS about.
func (m member) keepAnswering() member {
	seen := answering(m.counting)
	if len(seen.counting) == 0 && m.prepared.first {
		return m
	}
	m.counting, m.silent = seen.counting, seen.silent
	return m
}

// expectProved lets the probes count that proved a member before, where none
// of those that were found completes a handshake, nor some of gone; where none is
// remembered, all that were found. What answers where the service does not listen is
// another service, and does not count.
func (m member) expectProved(gone []probe.Observation) member {
	proved := prepare.Proved(m.prepared.known.Proven, m.prepared.plan)
	silent := slices.Concat(m.silent, gone)
	m.silent = nil
	for _, o := range silent {
		switch {
		case prepare.IsAway(o):
			m.away = append(slices.Clip(m.away), o)
		case proved == nil && !m.isUnreached() || prepare.Among(o.Endpoint, proved):
			m.counting = append(slices.Clip(m.counting), o)
		default:
			m.silent = append(m.silent, o)
		}
	}
	return m
}

// noteUnanswered notes which found probes proved a member before and complete no
// handshake now, while others do and count.
func (m member) noteUnanswered() member {
	known := m.prepared.known
	proved := prepare.Proved(known.Proven, m.prepared.plan)
	for _, o := range m.silent {
		outage := prepare.Outage(m.prepared.job.target, known.Proven, o.Err)
		if outage == nil || !prepare.Among(o.Endpoint, proved) {
			continue
		}
		if note := outage.Error() + "; " + outage.Remedy(); !slices.Contains(m.notes, note) {
			m.notes = append(slices.Clip(m.notes), note)
		}
	}
	return m
}

// prove looks at what is served until every probe saw the new leaf often
// enough, and at whether the service is still the same process.
func (r *run) prove(ctx context.Context, a attempt) (attempt, error) {
	counted := a.members
	a, proof := r.proveTwice(ctx, a)
	a, now, crash := r.life(ctx, a)
	if now == another { // and what was seen may have been of either
		a, proof = r.proveAll(ctx, a)
		a, now, crash = r.life(ctx, a)
	}
	switch {
	case crash != nil && a.activated:
		return a, &outcome.CrashedError{What: crash.Error(), Proven: proof == nil && !a.isUnreached()}
	case now == between && proof != nil:
		return a, a.restarting()
	}
	missed, is := errors.AsType[*missedError](proof)
	a = a.each(member.waitToBeReached)
	switch {
	case proof == nil && !a.isUnreached():
		if a, proof = r.askRestarted(ctx, a); proof != nil {
			return a, proof
		}
		for i, m := range a.members {
			a.members[i] = m.displaced(counted[i])
		}
		return r.noteHanging(a), a.fault()
	case proof == nil: // and too little time went by to tell what hangs
		return a, nil
	case !is:
		return a, proof
	}
	a = a.each(func(m member) member { return m.missing(missed.seen) })
	return a, a.fault()
}

// waitToBeReached lets a member wait that nothing has proven, since its service cannot
// be reached from here.
func (m member) waitToBeReached() member {
	if m.isUnreached() {
		m.wait = prepare.Unreached(m.prepared.plan, m.away)
	}
	return m
}

// missedError is probes that did not see what they should.
type missedError struct {
	unproven *outcome.UnprovenError
	seen     []probe.Seen
}

func (e *missedError) Error() string { return e.unproven.Error() }
func (e *missedError) Unwrap() error { return e.unproven }

// mostTold is how many probes are told of that did not see what they should. In a
// group there may be thousands, and each of its members is told.
const mostTold = 5

// missed returns an error of probes that did not see what they should; nil: there
// are none.
func (a attempt) missed(seen []probe.Seen) error {
	if len(seen) == 0 {
		return nil
	}
	var parts []string
	for i, s := range seen {
		if i == mostTold {
			parts = append(parts, fmt.Sprintf("and so at %d more", len(seen)-i))
			break
		}
		part := s.Err.Error()
		for _, m := range a.members {
			if slices.ContainsFunc(m.counting, func(o probe.Observation) bool { return o.Endpoint == s.Endpoint && o.Leaf() == nil }) {
				part += ", and it answered no handshake before anything was touched either"
			}
		}
		parts = append(parts, part)
	}
	return &missedError{&outcome.UnprovenError{What: strings.Join(parts, "; ")}, seen}
}

// byCiphers returns an error of probes, as missed has returned it, that says what it
// is likely to come from where the key is of another type than the one before, and
// the service turns handshakes down.
func (m member) byCiphers(seen []probe.Seen, err error) error {
	missed, is := errors.AsType[*missedError](err)
	previous := m.prepared.previous()
	if !is || previous == nil {
		return err
	}
	old, new := previous.Key, m.prepared.leaf.Key
	alert := func(s probe.Seen) bool {
		failed, is := errors.AsType[*probe.Error](s.Err)
		return is && failed.Kind == probe.Alert
	}
	if lineage.KeyFamily(old) == lineage.KeyFamily(new) || !slices.ContainsFunc(seen, alert) {
		return err
	}
	return &missedError{&outcome.UnprovenError{
		What: fmt.Sprintf("%s; the key is %s where the one before was %s, and the service's ciphers (or signature algorithms) may allow none of that type", missed.Error(), new, old),
		Cure: fmt.Sprintf("let the service's ciphers allow both types of keys, as those do that certlatch template %s prints, where it knows the service; or have the client keep the type", m.prepared.job.target.Service),
	}, missed.seen}
}

// missing returns the member with what its probes did not see. A first
// installation waits for it: the service may not name the files yet.
func (m member) missing(seen []probe.Seen) member {
	seen = slices.DeleteFunc(slices.Clone(seen), func(s probe.Seen) bool { return !slices.Contains(m.probes(), s.Endpoint) })
	err := attempt{members: []member{m}}.missed(seen)
	switch {
	case err == nil:
	case m.prepared.first:
		m.wait = &outcome.WaitError{Reason: outcome.FirstInstall, Detail: err.Error()}
	case m.silentThroughout(seen):
		m.fault = prepare.Unserved(m.prepared.job.target, m.prepared.plan, m.prepared.known.Proven, err, err)
	default:
		m.fault = m.byCiphers(seen, err)
	}
	return m
}

// silentThroughout reports whether none of the probes has completed a
// handshake, at the baseline nor since.
func (m member) silentThroughout(seen []probe.Seen) bool {
	return !slices.ContainsFunc(seen, func(s probe.Seen) bool {
		at := slices.Index(m.probes(), s.Endpoint)
		return at < 0 || m.counting[at].Leaf() != nil || s.Last.Leaf() != nil
	})
}

// secondAfter is how long a first activation has to bring everything about,
// where a second one may have to help.
const secondAfter = 2 * time.Second

// proveTwice proves, after a second activation where that may be what it takes.
func (r *run) proveTwice(ctx context.Context, a attempt) (attempt, error) {
	if !a.activation().Twice || !a.activated {
		return r.proveAll(ctx, a)
	}
	soon, cancel := context.WithTimeout(ctx, secondAfter)
	defer cancel()
	a, err := r.proveAll(soon, a)
	if err == nil && !a.unanswered() {
		return a, nil
	}
	if a, err = r.act(ctx, a); err != nil {
		return a, err
	}
	return r.proveAll(ctx, a)
}

// proveAll proves what is wanted, and what answers only since the activation.
func (r *run) proveAll(ctx context.Context, a attempt) (attempt, error) {
	a, err := r.proof(ctx, a, attempt.wanted)
	if err != nil {
		return a, err
	}
	a, heard := r.adoptNewListeners(ctx, a)
	if heard {
		a, err = r.proof(ctx, a, attempt.wanted)
	}
	return a, err
}

// adoptNewListeners lets those found probes count too that answer only since the
// activation, as for a host that had no certificate, or whose address has come since,
// and reports whether there are any.
func (r *run) adoptNewListeners(ctx context.Context, a attempt) (_ attempt, any bool) {
	asides := func(m member) []probe.Observation { return slices.Concat(m.silent, m.away) }
	now := r.observeAll(ctx, a, func(m member) []endpoint.Endpoint { return prepare.Endpoints(asides(m)) })
	members := slices.Clone(a.members)
	for i, m := range members {
		before := asides(m)
		m.silent, m.away = nil, nil
		for k, o := range now[i] {
			switch {
			case o.Leaf() != nil:
				m.counting = append(slices.Clip(m.counting), before[k])
				any = true
			case prepare.IsAway(o):
				m.away = append(m.away, o)
			case prepare.IsAway(before[k]): // its address has come
				m.silent = append(m.silent, o)
			default:
				m.silent = append(m.silent, before[k])
			}
		}
		members[i] = m
	}
	a.members = members
	return a, any
}

// unanswered reports whether some found probes still complete no handshake.
func (a attempt) unanswered() bool {
	return slices.ContainsFunc(a.members, func(m member) bool { return len(m.silent) > 0 })
}

// wanted is what the probes must see: the new leaves.
func (a attempt) wanted() []probe.Want {
	var wants []probe.Want
	for _, m := range a.members {
		for _, e := range m.probes() {
			wants = append(wants, m.want(e, m.prepared.leaf.Fingerprint))
		}
	}
	return wants
}

// want is that an endpoint serves one of some leaves, seen as often as proves it for
// the member's service.
func (m member) want(e endpoint.Endpoint, fingerprints ...string) probe.Want {
	proof := m.prepared.plan.Proof
	return probe.Want{Endpoint: e, Fingerprints: fingerprints, InARow: proof.InARow, Pace: proof.Pace}
}

const (
	// firstProof is how long a first installation is looked for, where the usual
	// outcome is that the service does not name the files yet.
	firstProof = 5 * time.Second
	// proofGrace is how much longer a row of handshakes that goes well may take, even
	// beyond the time for forward steps.
	proofGrace = 2 * time.Second
)

// proof waits until everything wanted was seen, or until the limit. Where no process
// from before the activation accepts connections any more, to see it once is
// enough; what is left of the limit when one of them hangs is for handshakes in a
// row. What was seen at an address that has left meanwhile does not count, either
// way. It fails with a *missedError.
func (r *run) proof(ctx context.Context, a attempt, wanted func(attempt) []probe.Want) (attempt, error) {
	a = r.leaveAway(ctx, a)
	wants := wanted(a)
	if len(wants) == 0 {
		return a, nil
	}
	limit := r.req.Limits.Proof
	if a.first() {
		limit = min(limit, firstProof)
	}
	until := time.Now().Add(limit)
	if deadline, ok := ctx.Deadline(); ok {
		until = earlier(until, deadline)
	}
	ctx, cancel := extend(ctx, earlier(until.Add(proofGrace), r.began.Add(r.req.Limits.Total)))
	defer cancel()
	if r.succeeded(ctx, a.before, until.Add(-time.Until(until)/5)) {
		for i := range wants {
			wants[i].InARow = 1
		}
	}
	seen := r.site.World.Network.Prove(ctx, until, wants)
	a = r.leaveAway(ctx, a)
	return a, a.missed(slices.DeleteFunc(seen, func(s probe.Seen) bool { return s.Proven || !a.counts(s.Endpoint) }))
}

// counts reports whether a probe counts for some member.
func (a attempt) counts(e endpoint.Endpoint) bool {
	return slices.ContainsFunc(a.members, func(m member) bool { return slices.Contains(m.probes(), e) })
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// extend returns a context that ends at a deadline, even where that of ctx is earlier,
// and when ctx is cancelled.
func extend(ctx context.Context, deadline time.Time) (context.Context, context.CancelFunc) {
	extended, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			cancel()
		}
	})
	return extended, func() { stop(); cancel() }
}

// restarting is the wait for somebody else to end what has been begun.
func (a attempt) restarting() *outcome.WaitError {
	return &outcome.WaitError{
		Reason: outcome.Reason(deployers.ServiceInactive),
		Detail: "somebody else is stopping or starting " + a.running.unit,
	}
}
