// Prints a tick each 20 ms on stdout while it waits for a line on stdin, and then that line.
package main

import (
	"bufio"
	"fmt"
	"os"
	"syscall"
	"time"
)

func main() {
	if err := syscall.SetNonblock(0, true); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	stdin := os.NewFile(0, "stdin")
	lines := make(chan string)
	go func() {
		line, _ := bufio.NewReader(stdin).ReadString('\n')
		lines <- line
	}()
	ticker := time.NewTicker(20 * time.Millisecond)
	for ticks := 1; ; {
		select {
		case <-ticker.C:
			fmt.Println("tick", ticks)
			ticks++
		case line := <-lines:
			fmt.Print("line ", line)
			return
		}
	}
}
