module ticks

go 1.21
