package etcdstore

import "slices"

// line is where what is to be sent waits, each account's in a row of its own. Calls
// take from the rows in turn: an account that sends a thousand has no more of a call
// than one that sends one, while both want it.
type line[M waiter] struct {
	accounts []string // whose turn it is first
	rows     map[string][]M
}

// waiter waits in a line.
type waiter interface {
	comparable
	account() string
}

func (l *line[M]) push(m M) {
	account := m.account()
	if l.rows == nil {
		l.rows = map[string][]M{}
	}
	if len(l.rows[account]) == 0 {
		l.accounts = append(l.accounts, account)
	}
	l.rows[account] = append(l.rows[account], m)
}

// remove takes out who does not wait any more.
func (l *line[M]) remove(m M) {
	account := m.account()
	row := slices.DeleteFunc(l.rows[account], func(other M) bool { return other == m })
	l.keep(account, row)
	if len(row) == 0 {
		l.accounts = slices.DeleteFunc(l.accounts, func(other string) bool { return other == account })
	}
}

func (l *line[M]) keep(account string, row []M) {
	if len(row) == 0 {
		delete(l.rows, account)
		return
	}
	l.rows[account] = row
}

// maxMisfits is how many that do not fit are passed by: what fits may be behind
// them, but not for ever.
const maxMisfits = 8

// next takes out one of each account, round and round, as far as add takes them.
// Whose did not fit is first at the next.
func (l *line[M]) next(add func(M) bool) {
	var misfits []string
	for len(l.accounts) > 0 && len(misfits) < maxMisfits {
		account := l.accounts[0]
		l.accounts = l.accounts[1:]
		row := l.rows[account]
		if !add(row[0]) {
			misfits = append(misfits, account)
			continue
		}
		l.keep(account, row[1:])
		if len(row) > 1 {
			l.accounts = append(l.accounts, account)
		}
	}
	l.accounts = append(misfits, l.accounts...)
}
