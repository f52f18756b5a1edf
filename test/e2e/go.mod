module github.com/dialback/dialback/test/e2e

go 1.26.8
