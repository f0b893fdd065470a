module {{package}}

go 1.21
