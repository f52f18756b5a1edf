package pool

// keepers is how many frontdoors keep a floor for an agent that nobody visits: one
// may die.
const keepers = 2

// Named says whether self is one of the frontdoors, among those that are ready,
// that keep the floor of an agent. Every frontdoor that knows the same others
// comes to the same answer, and one that comes or goes moves only its own share.
func Named(self string, ready []string, agentID string) bool {
	agent := hash(agentID)
	own := mix(hash(self) ^ agent)
	better := 0
	for _, other := range ready {
		if other == self {
			continue
		}
		if score := mix(hash(other) ^ agent); score > own || score == own && other > self {
			if better++; better == keepers {
				return false
			}
		}
	}
	return true
}

// hash is FNV-1a: the same in every process and release.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// mix is the finalizer of splitmix64, which lets every bit depend on every other.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
