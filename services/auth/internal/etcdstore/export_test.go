package etcdstore

import "time"

// AskEvery sets how often a quiet feed asks how far etcd is.
func (s *Store) AskEvery(d time.Duration) { s.progressInterval = d }
