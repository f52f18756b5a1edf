module github.com/dialback/dialback/services/registry

go 1.26.8
