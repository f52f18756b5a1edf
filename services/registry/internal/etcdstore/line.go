package etcdstore

import "slices"

// line is where plans wait, each account's in a row of its own. Batches take from
// the rows in turn: an account that sends a thousand has no more of a batch than
// one that sends one, while both want it.
type line struct {
	accounts []string // whose turn it is first
	rows     map[string][]*member
}

func accountOf(m *member) string {
	if t := m.plan.Tunnel; t != nil {
		return t.Key.Account
	}
	return ""
}

func (l *line) push(m *member) {
	account := accountOf(m)
	if l.rows == nil {
		l.rows = map[string][]*member{}
	}
	if len(l.rows[account]) == 0 {
		l.accounts = append(l.accounts, account)
	}
	l.rows[account] = append(l.rows[account], m)
}

// remove takes out who does not wait any more.
func (l *line) remove(m *member) {
	account := accountOf(m)
	row := slices.DeleteFunc(l.rows[account], func(other *member) bool { return other == m })
	l.keep(account, row)
	if len(row) == 0 {
		l.accounts = slices.DeleteFunc(l.accounts, func(other string) bool { return other == account })
	}
}

func (l *line) keep(account string, row []*member) {
	if len(row) == 0 {
		delete(l.rows, account)
		return
	}
	l.rows[account] = row
}

// maxMisfits is how many plans that do not fit are passed by: what fits may be
// behind them, but not for ever.
const maxMisfits = 8

// next takes out a batch: one plan of each account, round and round. Whose plan
// did not fit is first at the next.
func (l *line) next() *batchOf {
	b := newBatch()
	var misfits []string
	for len(l.accounts) > 0 && len(misfits) < maxMisfits {
		account := l.accounts[0]
		l.accounts = l.accounts[1:]
		row := l.rows[account]
		if !b.add(row[0]) {
			misfits = append(misfits, account)
			continue
		}
		l.keep(account, row[1:])
		if len(row) > 1 {
			l.accounts = append(l.accounts, account)
		}
	}
	l.accounts = append(misfits, l.accounts...)
	return b
}
