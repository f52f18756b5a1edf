module github.com/dialback/dialback/services/auth

go 1.26.8
