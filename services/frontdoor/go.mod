module github.com/dialback/dialback/services/frontdoor

go 1.26.8
