module primed

go 1.27
