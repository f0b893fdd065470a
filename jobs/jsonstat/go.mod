module jsonstat

go 1.21
