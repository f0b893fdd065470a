package main

import (
	"os"
	"strings"
	"unsafe"
)

// The generator of the runtime, as in runtime/rand.go. Its layout is that of Go 1.27.
//
//go:linkname globalRand runtime.globalRand
var globalRand struct {
	lock  uintptr
	seed  [32]byte
	state struct {
		buf     [32]uint64
		seed    [4]uint64
		i, n, c uint32
	}
	init bool
}

//go:linkname goenvs runtime.goenvs
func goenvs()

//go:linkname randinit runtime.randinit
func randinit()

//go:linkname mrandinit runtime.mrandinit
func mrandinit(thread unsafe.Pointer)

//go:linkname acquirem runtime.acquirem
func acquirem() unsafe.Pointer

//go:linkname releasem runtime.releasem
func releasem(thread unsafe.Pointer)

//go:linkname runtimeArgs os.runtime_args
func runtimeArgs() []string

//go:linkname runtimeEnvs syscall.runtime_envs
func runtimeEnvs() []string

// refresh replaces what the runtime has read when it was initialised: the arguments, the variables, and the seed of random numbers and maps.
func refresh() {
	goenvs()
	os.Args = runtimeArgs()
	os.Clearenv()
	for _, variable := range runtimeEnvs() {
		name, value, _ := strings.Cut(variable, "=")
		os.Setenv(name, value)
	}
	globalRand.init = false
	randinit()
	thread := acquirem()
	mrandinit(thread)
	releasem(thread)
}
