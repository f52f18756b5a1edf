module github.com/dialback/dialback/cmd/standalone

go 1.26.8
