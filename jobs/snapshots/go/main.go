// A Go program for snapshots. The initialisation fills a map of 20,000 entries. A run prints how many it finds, its first argument, the variable
// NUMBER and a random number, as JSON.
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags='-w -checklinkname=0' -o primed-go.wasm .
//
// The module is a reactor: it has no main that is called, and what it exports under these two names is that of the convention for snapshots.
package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
)

var entries map[string]int

//go:wasmexport wizer-initialize
func initialize() {
	entries = make(map[string]int)
	for number := range 20000 {
		entries["key "+strconv.Itoa(number)] = number
	}
}

//go:wasmexport wizer-resume
func resume() {
	refresh()
	argument := ""
	if len(os.Args) > 1 {
		argument = os.Args[1]
	}
	fmt.Printf("{\"entries\":%d,\"argument\":%q,\"variable\":%q,\"random\":\"%016x\"}\n",
		len(entries), argument, os.Getenv("NUMBER"), rand.Uint64())
}

func main() {}
