module github.com/dialback/dialback/services/connector

go 1.26.8
